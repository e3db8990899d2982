"""What turns the chapters into pages: execution, the PDF, sliders, data of the live pages."""
