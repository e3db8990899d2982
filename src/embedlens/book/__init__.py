"""What turns the chapters into pages: execution, PDF, sliders, arrows, data of the live pages."""
