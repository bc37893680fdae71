package git

// ParseConfig is parseConfig, for the fuzz target.
var ParseConfig = parseConfig
