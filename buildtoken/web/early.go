package web

// Early reports whether the request arrived as early data (RFC 8470): in HTTP/3 before the TLS
// handshake was complete, or marked so by a proxy. Anyone who has recorded such a request can
// send it again, from any address. It must change nothing, and its token must not be looked at.
// Clients that use early data repeat the request after [ErrTooEarly].
func (q *Request) Early() bool {
	return q.R.TLS != nil && !q.R.TLS.HandshakeComplete || len(q.R.Header["Early-Data"]) > 0
}
