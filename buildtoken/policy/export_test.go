package policy

// WithoutValues returns the text of an error that CEL might return one day.
func WithoutValues(err error, in *Input) string { return withoutValues(err, in, "true").Error() }
