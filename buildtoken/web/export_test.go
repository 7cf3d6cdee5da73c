package web

// The times that a client may take, for the tests of slow clients.
const (
	BodyTimeout  = bodyTimeout
	PieceTimeout = pieceTimeout
	HurryTimeout = hurryTimeout
)

// TraceParent is exported for its table.
var TraceParent = traceParent

// Clients returns how many clients are on record in f.
func (f *InFlight) Clients() (n int) {
	for _, b := range []*budget{&f.bodies, &f.answers, &f.streams} {
		n += len(b.unproven)
	}
	return n
}
