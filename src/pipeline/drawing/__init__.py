"""Drawing of maps, for regions and reports: style, panels, colour bars, scale bars and relief."""
