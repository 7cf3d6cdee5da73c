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
				w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
				q := s.api.Request(w, r)
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
				if err != nil || raw.Size != int64(tt.size) || w.setToRead {
					t.Fatalf("ReadRaw = %d bytes, %v; a deadline to read is left: %v", raw.Size, err, w.setToRead)
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

// A raw body in memory takes eight times its size, but never more than 64 KiB of it.
func TestRawBodiesInMemoryTakeTheirShare(t *testing.T) {
	shared, dir := new(web.InFlight), t.TempDir()
	holdBodies(t, "192.0.2.1", shared, 63)
	site := siteOf("192.0.2.1", shared)
	site.Spool = func() (*os.File, error) { return os.CreateTemp(dir, "spool-") }
	count := func(size int, declared bool) (n int) {
		var all []*web.Raw
		for ; n < 1000; n++ {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(make([]byte, size)))
			if !declared {
				r.ContentLength = -1
			}
			q := site.Request(httptest.NewRecorder(), r)
			end := q.Begin().End
			raw, err := q.ReadRaw(1<<20, io.Discard)
			end()
			all = append(all, raw)
			if err != nil {
				if !errors.Is(err, web.ErrBusy) || raw.Size != 0 {
					t.Errorf("ReadRaw = %d bytes, %v, want %v", raw.Size, err, web.ErrBusy)
				}
				break
			}
		}
		for _, raw := range all {
			raw.Close()
		}
		return n
	}
	// There is room for 1 MiB in memory, and a little more.
	for size, want := range map[int]int{64 << 10: 16, 32 << 10: 32, 16 << 10: 65} {
		if got := count(size, true); got != want {
			t.Errorf("%d bodies of %d bytes fit, want %d", got, size, want)
		}
		if got := count(size, false); got != 16 {
			t.Errorf("%d bodies of %d bytes with an unknown length fit, want 16, as if they were large", got, size)
		}
	}
}

// What happens to the file of a raw body is not the fault of its client.
func TestRawBodyWhoseFileIsLost(t *testing.T) {
	var spooled *os.File
	site := &web.Site{Spool: func() (f *os.File, err error) {
		spooled, err = os.CreateTemp(t.TempDir(), "spool-")
		return spooled, err
	}}
	q := site.Request(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(make([]byte, 100<<10))))
	defer q.Begin().End()
	raw, err := q.ReadRaw(1<<20, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if err := spooled.Truncate(1000); err != nil {
		t.Fatal(err)
	}
	if all, err := raw.Bytes(); all != nil || web.VerdictOf(err).Status != http.StatusServiceUnavailable {
		t.Errorf("Bytes = %d bytes, %v, want 503", len(all), err)
	}
}

// A sender of a raw body that is too slow gets the same status as any other.
func TestSlowRawBody(t *testing.T) {
	for _, before := range []int{0, 10, 100 << 10} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", io.MultiReader(bytes.NewReader(make([]byte, before)), late{}))
		r.ContentLength = 200 << 10
		site := &web.Site{Spool: func() (*os.File, error) { return os.CreateTemp(t.TempDir(), "spool-") }}
		q := site.Request(httptest.NewRecorder(), r)
		end := q.Begin().End
		raw, err := q.ReadRaw(1<<20, io.Discard)
		raw.Close()
		end()
		if web.VerdictOf(err).Status != http.StatusRequestTimeout {
			t.Errorf("after %d bytes: %v, want 408", before, err)
		}
	}
}

type late struct{}

func (late) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

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
