"""The pages: widgets and where they stand. What they show is computed in web/answers, by the public face of sim."""
