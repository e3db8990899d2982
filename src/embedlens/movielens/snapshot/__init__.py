"""The October 2016 snapshot of MovieLens ml-latest-small. See README.md here."""
