package web_test

import (
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

func TestPlainWriter(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"a\nb\tc\r\n", "a\nb\tc\r\n"},
		{"\x1b[1m> web@2.14 \x1b[0m\n", "> web@2.14 \n"},
		{"\x1b[38;5;196mred\x1b[m", "red"},
		{"\x1b]8;;https://x.example\x07link\x1b]8;;\x1b\\ end", "link end"},
		{"\x1b]0;no end\nnext", "\nnext"},
		{"\x1b(Bx\x1b7y", "xy"},
		{"\x1b Fx\x1b0y\x1b#0z\x1b/0", "xyz"},
		{"\x1b[2@x\x1b[?25ly", "xy"},
		{"\x1bPa\x1b\\b\x1bXc\x1b\\d\x1b^e\x1b\\f\x1b_g\x1b\\h", "bdfh"},
		{"a b~\x1f", "a b~"},
		{"\x00\x07\x08bell\x7f", "bell"},
		{"grün \xff", "grün \xff"},
		{"\x1b", ""},
	} {
		in, want := tt.in, tt.want
		for _, size := range []int{1, 2, 100} { // also in pieces
			var b strings.Builder
			w := &web.PlainWriter{W: &b}
			for rest := in; rest != ""; {
				n := min(size, len(rest))
				if _, err := w.Write([]byte(rest[:n])); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if got := b.String(); got != want {
				t.Errorf("%q in pieces of %d = %q, want %q", in, size, got, want)
			}
		}
	}
}

func TestPlainWriterReturnsErrors(t *testing.T) {
	w := &web.PlainWriter{W: &beaten{httptest.NewRecorder(), io.ErrClosedPipe, nil}}
	if n, err := w.Write([]byte("text")); n != 0 || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write to a client that is gone = %d, %v, want 0, %v", n, err, io.ErrClosedPipe)
	}
	var b strings.Builder
	w = &web.PlainWriter{W: &b}
	if n, err := w.Write([]byte("\x1b[1mtext")); n != 8 || err != nil {
		t.Errorf("Write = %d, %v, want all of it", n, err)
	}
}
