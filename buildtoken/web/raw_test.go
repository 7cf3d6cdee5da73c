package web_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// A raw body is read unchanged, however large, and leaves no file behind.
func TestReadRaw(t *testing.T) {
	s := newScenario(t, t.TempDir(), 0, throttle.Limit{})
	defer s.close()
	const limit = 200 << 10
	for _, tt := range []struct {
		name string
		size int
		ok   bool
	}{
		{"nothing", 0, true},
		{"a byte", 1, true},
		{"what fits into memory", 64 << 10, true},
		{"a byte more", 64<<10 + 1, true},
		{"as much as may be", limit, true},
		{"a byte more than may be", limit + 1, false},
		{"much more", 3 * limit, false},
	} {
		for _, declared := range []bool{true, false} {
			t.Run(tt.name, func(t *testing.T) {
				body := bytes.Repeat([]byte("0123456789abcdef"), tt.size/16+1)[:tt.size]
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
				if !declared {
					r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", struct{ io.Reader }{bytes.NewReader(body)})
				}
				q := s.api.Request(httptest.NewRecorder(), r)
				defer q.Begin().End()
				sum := sha256.New()
				raw, err := q.ReadRaw(limit, sum)
				defer func() { raw.Close() }() // also after an error
				var tooLarge *web.TooLargeError
				if !tt.ok {
					if !errors.As(err, &tooLarge) || tooLarge.Limit != limit {
						t.Errorf("ReadRaw = %v, want a TooLargeError", err)
					}
					return
				}
				if err != nil || raw.Size != int64(tt.size) {
					t.Fatalf("ReadRaw = %d bytes, %v", raw.Size, err)
				}
				if want := sha256.Sum256(body); !bytes.Equal(sum.Sum(nil), want[:]) {
					t.Error("another body was hashed")
				}
				if got, err := raw.Bytes(); err != nil || !bytes.Equal(got, body) {
					t.Errorf("Bytes = %d bytes, %v, want the body", len(got), err)
				}
			})
		}
	}
	left := 0
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Base(filepath.Dir(path)) == "uploads" {
			left++
		}
		return err
	})
	if err != nil || left > 0 {
		t.Errorf("%d files are left, %v", left, err)
	}
}

// A byte of a raw body in a file takes a quarter of what one of an uploaded file takes.
func TestRawBodiesInFilesTakeLittleOfTheLimit(t *testing.T) {
	shared, dir := new(web.InFlight), t.TempDir()
	site := siteOf("192.0.2.1", shared)
	site.Spool = func() (*os.File, error) { return os.CreateTemp(dir, "spool-") }
	holdBodies(t, "192.0.2.1", shared, 63) // of the 64 that one client may have
	// The first 64 KiB are kept in memory. What is left is enough for about 30 MiB in files.
	for _, tt := range []struct {
		size int64
		want error
	}{{29 << 20, nil}, {33 << 20, web.ErrBusy}, {29 << 20, nil}} {
		q := site.Request(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", io.LimitReader(zeros{}, tt.size)))
		end := q.Begin().End
		raw, err := q.ReadRaw(1<<30, io.Discard)
		raw.Close()
		end()
		if !errors.Is(err, tt.want) {
			t.Errorf("a raw body of %d bytes: %v, want %v", tt.size, err, tt.want)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// The body of a client that disconnects is an error.
func TestReadRawOfABodyThatIsCutOff(t *testing.T) {
	s := newScenario(t, t.TempDir(), 0, throttle.Limit{})
	defer s.close()
	for _, size := range []int{10, 100 << 10} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", io.MultiReader(bytes.NewReader(make([]byte, size)), broken{}))
		r.ContentLength = int64(size) + 5
		q := s.api.Request(httptest.NewRecorder(), r)
		end := q.Begin().End
		raw, err := q.ReadRaw(1<<20, io.Discard)
		if v := web.VerdictOf(err); err == nil || v.Status != http.StatusBadRequest {
			t.Errorf("ReadRaw = %v, want a malformed body", err)
		}
		raw.Close()
		end()
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
