package caddymodule

import (
	"net/http"

	"go.uber.org/zap"
)

// References is how many configurations refer to the controller of a place.
func References(place string) int {
	n, _ := slots.References(place)
	return n
}

// RedactURI is what access log entries of triggers show of a URI.
func RedactURI(uri string) string { return redactURI(uri, isClear("/buildByToken/build")) }

// SwappableLogger makes a logger that writes to the newest one that swap was given.
func SwappableLogger() (log *zap.Logger, swap func(*zap.Logger)) {
	s := &swappableLog{}
	return s.logger(), s.swap
}

// RootOf is the root URL of a request at a handler that configures none.
func RootOf(r *http.Request) string { return rootURL{}.of(r) }
