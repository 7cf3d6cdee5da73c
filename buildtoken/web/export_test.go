package web

// The times that a client may take, for the tests of slow clients.
const (
	BodyTimeout  = bodyTimeout
	PieceTimeout = pieceTimeout
	HurryTimeout = hurryTimeout
)

// TraceParent is exported for its table.
var TraceParent = traceParent
