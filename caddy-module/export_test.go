package caddymodule

import (
	"io"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/deliveries"
)

// References is how many configurations refer to the controller of a place.
func References(place string) int {
	n, _ := slots.References(place)
	return n
}

// RedactURI is what access log entries of triggers show of a URI.
func RedactURI(uri string) string { return redactURI(uri, isClear("/buildByToken/build")) }

// Nearest is what errors suggest for a word that is not known.
func Nearest(name string, candidates []string) string { return nearest(name, candidates) }

// SwappableLogger makes a logger that writes to the newest one that swap was given.
func SwappableLogger() (log *zap.Logger, swap func(*zap.Logger)) {
	s := &swappableLog{}
	return s.logger(), s.swap
}

// RootOf is the root URL of a request at a handler that configures none.
func RootOf(r *http.Request) string { return rootURL{}.of(r) }

// Warnings are those of a configuration in JSON.
func Warnings(config []byte) ([]Warning, error) {
	app, err := inspect(config)
	if err != nil {
		return nil, err
	}
	return app.warnings(), app.Cleanup()
}

// PrintDeliveries is what the command prints.
func PrintDeliveries(to io.Writer, all []deliveries.Delivery) error {
	return printTable(to, func(to io.Writer) error { return printDeliveries(to, all, time.Time{}) })
}
