"""The server of the app: Streamlit within our own page and headers, and the processes that compute."""
