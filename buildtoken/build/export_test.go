package build

import "github.com/buildtoken/buildtoken/internal/atomicfile"

// WithFiles returns the options with another file system for what must be durable.
func WithFiles(o Options, files atomicfile.Files) Options {
	o.files = files
	return o
}
