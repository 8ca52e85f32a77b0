"""What Streamlit does not draw: the timeline's canvas and the sections of the reports, both shared with the reports."""
