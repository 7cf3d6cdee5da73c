package web_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

func TestEarly(t *testing.T) {
	for _, tt := range []struct {
		name   string
		tls    *tls.ConnectionState
		header http.Header
		want   bool
	}{
		{"without TLS", nil, nil, false},
		{"after the handshake", &tls.ConnectionState{HandshakeComplete: true}, nil, false},
		{"during the handshake", &tls.ConnectionState{}, nil, true},
		{"marked by a proxy", nil, http.Header{"Early-Data": {"1"}}, true},
		{"marked with an unknown value", nil, http.Header{"Early-Data": {""}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.TLS, r.Header = tt.tls, tt.header
			if got := new(web.Site).Request(httptest.NewRecorder(), r).Early(); got != tt.want {
				t.Errorf("Early() = %v, want %v", got, tt.want)
			}
		})
	}
}
