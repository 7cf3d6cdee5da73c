package web_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// upload returns a trigger of the job upload with a file of that many bytes.
func upload(t *testing.T, size int) *http.Request {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	part, err := m.CreateFormFile("PATCH", "big")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(bytes.Repeat([]byte("x"), size))
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/buildByToken/buildWithParameters?job=upload", &b)
	r.Header.Set("Content-Type", m.FormDataContentType())
	r.Header.Set("X-Build-Token", "TacoTuesday")
	return r
}

// A large file is spooled in the data directory. Only the stored upload remains of it.
func TestLargeFilesAreSpooledInTheDataDirectory(t *testing.T) {
	for _, size := range []int{web.MaxBody + 1, web.MaxBody * 3 / 2, 20 << 20} { // what comes after the part in memory is less or more than that
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("TMPDIR", "/nonexistent")
			s := newScenario(t, dir, 0, throttle.Limit{})
			t.Cleanup(s.close)
			w := httptest.NewRecorder()
			s.api.Serve(w, upload(t, size))
			if w.Code != http.StatusCreated {
				t.Fatalf("status %d %s, want 201", w.Code, w.Body)
			}
			left, err := os.ReadDir(filepath.Join(s.dir, "uploads"))
			if err != nil || len(left) != 1 || strings.HasPrefix(left[0].Name(), "spool-") {
				t.Fatalf("the directory of uploads has %v, %v, want the upload alone", left, err)
			}
			if stored, err := left[0].Info(); err != nil || stored.Size() != int64(size) {
				t.Errorf("%v, %v are stored, want all %d bytes", stored, err, size)
			}
		})
	}
}

// counted is a body that counts what is read of it.
type counted struct {
	io.ReadCloser
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += n
	return n, err
}

// While the queue cannot be opened, no upload is refused for its size, because its token cannot be
// checked. A large one is not read either.
func TestUploadWhileTheQueueIsClosed(t *testing.T) {
	s := newScenario(t, t.TempDir(), 0, throttle.Limit{})
	t.Cleanup(s.close)
	s.api.Open = func() (*buildtoken.Controller, error) { return nil, errors.New("the file is locked") }
	for _, size := range []int{10, 3 << 20} {
		w, r := httptest.NewRecorder(), upload(t, size)
		read := &counted{ReadCloser: r.Body}
		r.Body = read
		s.api.Serve(w, r)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || read.n > web.MaxBody {
			t.Errorf("a file of %d bytes, of which %d were read: %d %s, Retry-After %q; want 503 and one", size, read.n, w.Code, w.Body, w.Header().Get("Retry-After"))
		}
	}
}

// If the server has no space for a body, it answers 503, because that is not the client's
// fault.
func TestNoPlaceForABodyIsUnavailable(t *testing.T) {
	s := newScenario(t, t.TempDir(), 0, throttle.Limit{})
	t.Cleanup(s.close)
	core, logs := observer.New(zap.ErrorLevel)
	s.api.Log = zap.New(core)
	if err := os.WriteFile(filepath.Join(s.dir, "uploads"), nil, 0o600); err != nil { // where the directory should be
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.api.Serve(w, upload(t, 3<<20))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("status %d %s, Retry-After %q; want 503 and one", w.Code, w.Body, w.Header().Get("Retry-After"))
	}
	if logs.FilterMessage("body of a request could not be stored").Len() != 1 {
		t.Errorf("the log has %v, want an error", logs.All())
	}
}

// A body that its length refuses is not requested from a client that waits for 100 Continue, unless
// it may be JSON that is only declared as a form.
func TestRefusedBodyIsNotRequested(t *testing.T) {
	const parts, json = "--b\r\nContent-Disposition: form-data; name=\"A\"\r\n\r\n", "{"
	for _, tt := range []struct {
		name, contentType, expect, start string
		status                           int // 0 if it is accepted
		read                             bool
	}{
		{"a client that waits", "multipart/form-data; boundary=b", "100-continue", parts, http.StatusRequestEntityTooLarge, false},
		{"a client that does not wait", "multipart/form-data; boundary=b", "", parts, http.StatusRequestEntityTooLarge, true},
		{"JSON that is declared as parts", "multipart/form-data; boundary=b", "", json, 0, true},
		{"JSON of a client that waits, with a type that no form has", "multipart/form-data", "100-continue", json, 0, true},
		{"no JSON, with a type that no form has", "multipart/form-data", "100-continue", parts, http.StatusRequestEntityTooLarge, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := strings.NewReader(tt.start + strings.Repeat("x", web.MaxBody))
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
			r.Header.Set("Content-Type", tt.contentType)
			if tt.expect != "" {
				r.Header.Set("Expect", tt.expect)
			}
			q := new(web.Site).Request(httptest.NewRecorder(), r)
			defer q.Begin().End()
			f, err := q.ReadForm(web.FormOptions{NamedInPath: true})
			status := 0
			if err == nil {
				f.Close()
			} else {
				status = web.VerdictOf(err).Status
			}
			if read := int64(body.Len()) < body.Size(); status != tt.status || read != tt.read {
				t.Errorf("ReadForm: %v, status %d, read %v; want status %d, read %v", err, status, read, tt.status, tt.read)
			}
		})
	}
}

// failing returns a file that fails once it has taken n bytes.
func failing(t *testing.T, n int64) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // the cleanup waits for it
		defer close(ended)
		_, _ = io.CopyN(io.Discard, r, n) // the test may end first
		_ = r.Close()
	}()
	t.Cleanup(func() {
		_ = w.Close()
		<-ended
	})
	return w
}

// A time limit of the body that was left would end a stream that follows.
func TestBodyThatWasReadLeavesNoTimeLimit(t *testing.T) {
	s := newScenario(t, t.TempDir(), 0, throttle.Limit{})
	defer s.close()
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("job=plain"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q := s.api.Request(w, r)
	defer q.Begin().End()
	limited := w.setToRead
	f, err := q.ReadForm(web.FormOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !limited || w.setToRead {
		t.Errorf("the time to read is limited before %v and after %v, want before only", limited, w.setToRead)
	}
}

// A disk that fails is not the client's fault, and a client that is gone is not the disk's.
func TestDiskThatFailsWhileABodyIsStored(t *testing.T) {
	const size = 4 << 20
	for _, tt := range []struct {
		name   string
		room   int64 // of the disk
		gone   bool  // the client, in the middle
		status int
	}{
		{"a full disk", 0, false, http.StatusServiceUnavailable},
		{"a disk that becomes full", 2 << 20, false, http.StatusServiceUnavailable},
		{"a client that is gone", 2 * size, true, http.StatusBadRequest},
	} {
		for kind, read := range map[string]func(q *web.Request) (release func(), err error){
			"a file of a form": func(q *web.Request) (func(), error) {
				f, err := q.ReadForm(web.FormOptions{Large: func(*web.Form) bool { return true }})
				if err != nil {
					return func() {}, err
				}
				return f.Close, nil
			},
			"a raw body": func(q *web.Request) (func(), error) {
				raw, err := q.ReadRaw(2*size, io.Discard)
				return raw.Close, err
			},
		} {
			t.Run(tt.name+", "+kind, func(t *testing.T) {
				r := upload(t, size)
				if tt.gone {
					r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, size/2), broken{}))
				}
				core, logs := observer.New(zap.ErrorLevel)
				site := &web.Site{Log: zap.New(core), Spool: func() (*os.File, error) { return failing(t, tt.room), nil }}
				q := site.Request(httptest.NewRecorder(), r)
				defer q.Begin().End()
				release, err := read(q)
				release()
				if err == nil || web.VerdictOf(err).Status != tt.status {
					t.Errorf("got %v, want status %d", err, tt.status)
				}
				if logged := logs.FilterMessage("body of a request could not be stored").Len() == 1; logged == tt.gone {
					t.Errorf("logged %v", logs.All())
				}
			})
		}
	}
}

// A byte of an uploaded file costs one once it is in a file, and eight while it is in memory. It
// counts for the client until its limit is raised.
func TestUploadedFilesTakeTheirSizeOfTheLimit(t *testing.T) {
	const client = "192.0.2.1"
	shared, dir := new(web.InFlight), t.TempDir()
	holdBodies(t, client, shared, 63) // of the 64 of 1 MiB that one client may have
	holdBodies(t, "192.0.2.2", shared, 63)
	site := siteOf(client, shared)
	site.Spool = func() (*os.File, error) { return os.CreateTemp(dir, "spool-") }
	// There is room for 16 MiB, half of which the first MiB takes.
	for _, tt := range []struct {
		size int
		want error
	}{{8 << 20, nil}, {10 << 20, web.ErrBusy}, {8 << 20, nil}} {
		q := site.Request(httptest.NewRecorder(), upload(t, tt.size))
		end := q.Begin().End
		f, err := q.ReadForm(web.FormOptions{Large: func(*web.Form) bool { return true }})
		if !errors.Is(err, tt.want) {
			t.Errorf("a file of %d bytes: %v, want %v", tt.size, err, tt.want)
		}
		if err == nil {
			f.Close()
		}
		end()
	}
}

// A client that may send a large body is not told to present a token, whether or not it declares
// the length.
func TestBodyLargerThanAnyMayBe(t *testing.T) {
	dir := t.TempDir()
	for allowed, want := range map[bool]web.TooLargeError{true: {Limit: web.MaxUploadBody}, false: {Limit: web.MaxBody, NeedsToken: true}} {
		for _, length := range []int64{-1, 33 << 20} {
			site := &web.Site{Spool: func() (*os.File, error) { return os.CreateTemp(dir, "spool-") }}
			r := upload(t, 33<<20)
			r.ContentLength = length
			q := site.Request(httptest.NewRecorder(), r)
			end := q.Begin().End
			_, err := q.ReadForm(web.FormOptions{NamedInPath: true, Large: func(*web.Form) bool { return allowed }})
			var got *web.TooLargeError
			if !errors.As(err, &got) || *got != want {
				t.Errorf("a body of 33 MiB, declared as %d bytes, allowed to be large: %v: %v, want %+v", length, allowed, err, want)
			}
			end()
		}
	}
}

// Without a controller, there is no place for what does not fit into memory. That is not the
// client's fault, and some clients do not repeat a request that is malformed.
func TestLargeBodyWithoutAController(t *testing.T) {
	for kind, read := range map[string]func(q *web.Request) error{
		"a file of a form": func(q *web.Request) error {
			_, err := q.ReadForm(web.FormOptions{Large: func(*web.Form) bool { return true }})
			return err
		},
		"a raw body": func(q *web.Request) error {
			raw, err := q.ReadRaw(4<<20, io.Discard)
			raw.Close()
			return err
		},
	} {
		site := &web.Site{Open: func() (*buildtoken.Controller, error) { return nil, errors.New("no database") }}
		q := site.Request(httptest.NewRecorder(), upload(t, 3<<20))
		end := q.Begin().End
		if err := read(q); !errors.Is(err, web.ErrNoController) || web.VerdictOf(err).Status != http.StatusServiceUnavailable {
			t.Errorf("%s: %v, want %v", kind, err, web.ErrNoController)
		}
		end()
	}
}

// withheld is a body whose last byte does not arrive until it is released.
type withheld struct {
	first   io.Reader
	waits   chan<- struct{}
	release <-chan struct{}
}

func (b *withheld) Read(p []byte) (int, error) {
	if n, err := b.first.Read(p); err == nil {
		return n, nil
	}
	if b.waits != nil {
		b.waits <- struct{}{}
		b.waits = nil
	}
	<-b.release
	return 0, io.EOF
}

// All bodies in flight share one limit, and return their part of it.
func TestBodiesInFlightHaveOneLimit(t *testing.T) {
	const bodies = 128 // of 1 MiB in memory
	shared := new(web.InFlight)
	read := func(body io.Reader, length int64) (*web.Form, error) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.ContentLength = length
		q := (&web.Site{InFlight: shared}).Request(httptest.NewRecorder(), r)
		defer q.Begin().End()
		return q.ReadForm(web.FormOptions{})
	}
	text := "A=" + strings.Repeat("x", web.MaxBody-2)
	waits, release, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	for range bodies {
		go func() {
			f, err := read(&withheld{strings.NewReader(text), waits, release}, int64(len(text)))
			if err == nil {
				f.Close()
			}
			ended <- err
		}()
	}
	for range bodies {
		<-waits
	}
	if _, err := read(strings.NewReader(text), int64(len(text))); err == nil || web.VerdictOf(err).Status != http.StatusServiceUnavailable {
		t.Errorf("one body more: %v, want 503", err)
	}
	close(release)
	for range bodies {
		if err := <-ended; err != nil && web.VerdictOf(err).Status != http.StatusRequestEntityTooLarge {
			t.Error(err)
		}
	}
	f, err := read(strings.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatalf("after the others have ended: %v", err)
	}
	f.Close()
}

// One client cannot take all of the limit: what others send finds room.
func TestOneClientLeavesRoomForOthers(t *testing.T) {
	const bodies = 64 // of 1 MiB in memory, half of the limit
	shared := new(web.InFlight)
	text := "A=" + strings.Repeat("x", web.MaxBody-2)
	read := func(client string, body io.Reader) error {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.ContentLength = int64(len(text))
		q := (&web.Site{InFlight: shared, Remote: func(*http.Request) netip.Addr { return netip.MustParseAddr(client) }}).Request(httptest.NewRecorder(), r)
		defer q.Begin().End()
		f, err := q.ReadForm(web.FormOptions{})
		if err != nil {
			return err
		}
		f.Close()
		return nil
	}
	waits, release, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	for i := range bodies { // from a /64, which is one client
		go func() {
			ended <- read(fmt.Sprintf("2001:db8::%x", i), &withheld{strings.NewReader(text), waits, release})
		}()
	}
	for range bodies {
		<-waits
	}
	if err := read("2001:db8::ffff", strings.NewReader(text)); err == nil || web.VerdictOf(err).Status != http.StatusServiceUnavailable {
		t.Errorf("one body more of the client: %v, want 503", err)
	}
	if err := read("192.0.2.1", strings.NewReader(text)); err != nil {
		t.Errorf("another client: %v, want it to find room", err)
	}
	close(release)
	for range bodies {
		if err := <-ended; err != nil && web.VerdictOf(err).Status != http.StatusRequestEntityTooLarge {
			t.Error(err)
		}
	}
	if err := read("2001:db8::1", strings.NewReader(text)); err != nil {
		t.Errorf("after the others have ended: %v", err)
	}
}

// The work for a path grows linearly with its length.
func TestDeepJobPathsAreBounded(t *testing.T) {
	deep := strings.Repeat("/job/a", 1_000_000)
	if full, rest := web.SplitPath(deep + "/3").Job(); full != "" || !rest.Is("3") {
		t.Errorf("a path that is too deep names %.20q, and %d segments are left", full, rest.Len())
	}
	if full, _ := web.SplitPath(strings.Repeat("/job/a", 900)).Job(); full != strings.TrimSuffix(strings.Repeat("a/", 900), "/") {
		t.Errorf("a name of %d bytes is cut", len(full))
	}
	folders := strings.Repeat("/job/"+strings.Repeat("a", job.MaxName), job.MaxFullName/(job.MaxName+1))
	for rest, want := range map[int]int{191: job.MaxFullName, 192: 0} {
		if full, _ := web.SplitPath(folders + "/job/" + strings.Repeat("b", rest)).Job(); len(full) != want {
			t.Errorf("with %d bytes at its end, the name has %d bytes, want %d", rest, len(full), want)
		}
	}
}
