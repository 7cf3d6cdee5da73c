package web

// The times that a client may take, for the tests of slow clients.
const (
	BodyTimeout  = bodyTimeout
	PieceTimeout = pieceTimeout
	HurryTimeout = hurryTimeout
)

// TraceParent is exported for its table.
var TraceParent = traceParent

// Used returns how much requests hold now.
func (f *InFlight) Used() int64 {
	return f.bodies.used.Load() + f.answers.used.Load() + f.streams.used.Load()
}

// Clients returns how many clients are on record in f.
func (f *InFlight) Clients() (n int) {
	for _, b := range []*budget{&f.bodies, &f.answers, &f.streams} {
		n += len(b.unproven)
	}
	return n
}
