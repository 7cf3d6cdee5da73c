package caddymodule

import (
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/internal/atomicfile"
)

// OpenBolt opens a queue on a file system, as a server does when it starts.
func OpenBolt(files atomicfile.Files, place string) (buildtoken.Options, error) {
	return (&Bolt{files: files}).Open(place, "", 0, zap.NewNop())
}
