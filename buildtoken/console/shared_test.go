package console_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// errAway is returned while the keeper is not reachable.
var errAway = errors.New("away")

// keeper is a keeper of one log in memory.
type keeper struct {
	mu       sync.Mutex
	text     []byte
	complete bool
	build    int64 // its identity
	gone     bool  // the build was dropped
	away     bool  // the next calls fail
	// asked and read count calls; largest is the largest read.
	asked, read, largest int
	// after, if not nil, is called with each piece that was added. It can change the keeper,
	// and its error is returned.
	after func(*keeper) error
}

func (k *keeper) AppendLog(_ context.Context, _ string, _, offset int64, p []byte, last bool) (int64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.away:
		return 0, errAway
	case k.complete:
		return int64(len(k.text)), queue.ErrNotRunning
	case offset != int64(len(k.text)):
		return int64(len(k.text)), nil
	}
	k.text, k.complete = append(k.text, p...), last
	if k.after != nil {
		if err := k.after(k); err != nil {
			return 0, err
		}
	}
	return offset + int64(len(p)), nil
}

func (k *keeper) LogState(context.Context, string, int64) (console.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	switch {
	case k.away:
		return console.State{}, errAway
	case k.gone:
		return console.State{}, queue.ErrNotFound
	}
	return console.State{Build: k.build, Size: int64(len(k.text)), Complete: k.complete}, nil
}

func (k *keeper) ReadLog(_ context.Context, _ string, _, build, offset int64, p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.read++
	k.largest = max(k.largest, len(p))
	switch {
	case k.away:
		return 0, errAway
	case build != k.build:
		return 0, queue.ErrNotFound
	}
	return copy(p, k.text[min(offset, int64(len(k.text))):]), nil
}

func (*keeper) LogTimes(context.Context, string, int64, int64, int64) ([]console.Stamp, error) {
	return nil, nil
}

func (*keeper) DropLogs(context.Context, string, int64) error { return nil }

// set changes the keeper.
func (k *keeper) set(change func(*keeper)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(k)
}

func openShared(t *testing.T, s *console.Shared) *console.Reader {
	t.Helper()
	r, err := s.Open(t.Context(), "job", 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// TestSharedLogIsAskedForOnce starts two hundred followers of a live log.
func TestSharedLogIsAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const followers = 200
		k := &keeper{}
		s := console.NewShared(k)
		r := openShared(t, s)
		var following sync.WaitGroup
		texts := make([]bytes.Buffer, followers)
		for i := range texts {
			following.Go(func() {
				own, err := s.Open(t.Context(), "job", 1)
				if err != nil {
					t.Error(err)
					return
				}
				defer own.Close()
				if _, err := console.Follow(t.Context(), own, 0, func(p []byte) error { texts[i].Write(p); return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		k.set(func(k *keeper) { k.asked = 0 })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		k.set(func(k *keeper) {
			if k.asked < 15 || k.asked > 21 {
				t.Errorf("asked %d times in 10 s of silence, want about twice a second", k.asked)
			}
			k.asked, k.read = 0, 0
			k.text = []byte("one\n")
		})
		begin := time.Now()
		s.Wake("other job")
		s.Wake("job")
		synctest.Wait()
		if size := r.Size(); size != 4 || !time.Now().Equal(begin) {
			t.Errorf("after a notice, %d bytes were known after %v, want 4 at once", size, time.Since(begin))
		}
		k.set(func(k *keeper) {
			if k.asked != 1 || k.read != 1 {
				t.Errorf("asked %d times and read %d times for %d followers, want once", k.asked, k.read, followers)
			}
			k.text, k.complete = append(k.text, "two\n"...), true
		})
		following.Wait() // without a notice
		if since := time.Since(begin); since > 2*time.Second {
			t.Errorf("the end was known after %v", since)
		}
		for i := range texts {
			if got := texts[i].String(); got != "one\ntwo\n" {
				t.Fatalf("follower %d read %q", i, got)
			}
		}
	})
}

func TestSharedLogOfAKeeperThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{text: []byte("one\n")}
		s := console.NewShared(k)
		r := openShared(t, s)
		k.set(func(k *keeper) { k.away = true })
		if _, err := s.Open(t.Context(), "job", 2); !errors.Is(err, errAway) {
			t.Errorf("Open = %v, want %v", err, errAway)
		}
		if _, err := r.ReadAt(make([]byte, 4), 0); !errors.Is(err, errAway) {
			t.Errorf("ReadAt = %v, want %v", err, errAway)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if size, complete, err := r.Wait(ctx, 4); size != 4 || complete || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait = %d, %v, %v; want to wait", size, complete, err)
		}
		k.set(func(k *keeper) { k.away, k.text = false, []byte("one\ntwo\n") })
		if size, _, err := r.Wait(t.Context(), 4); size != 8 || err != nil {
			t.Errorf("Wait when it is back = %d, %v", size, err)
		}
		// A database that has crashed can have lost the end of the log, and other text can
		// follow.
		p := make([]byte, 8)
		if _, err := r.ReadAt(p, 0); err != nil || string(p) != "one\ntwo\n" {
			t.Errorf("ReadAt = %q, %v", p, err)
		}
		k.set(func(k *keeper) { k.text = []byte("one\n") })
		go func() { _, _, _ = r.Wait(t.Context(), 8) }() // ends when there is more text
		synctest.Wait()
		s.WakeAll()
		synctest.Wait()
		if size := r.Size(); size != 4 {
			t.Errorf("Size after a crash = %d, want 4", size)
		}
		k.set(func(k *keeper) { k.text = []byte("one\nlost\n") })
		if size, _, err := r.Wait(t.Context(), 4); size != 9 || err != nil {
			t.Errorf("Wait = %d, %v", size, err)
		}
		if _, err := r.ReadAt(p, 0); err != nil || string(p) != "one\nlost" {
			t.Errorf("ReadAt after a crash = %q, %v", p, err)
		}
		// The build is dropped while its log is followed.
		k.set(func(k *keeper) { k.gone = true })
		if _, _, err := r.Wait(t.Context(), 9); !errors.Is(err, console.ErrGone) {
			t.Errorf("Wait for a log that is dropped = %v, want %v", err, console.ErrGone)
		}
		if _, err := s.Open(t.Context(), "job", 3); !errors.Is(err, console.ErrNotFound) {
			t.Errorf("Open of a log that is dropped = %v, want %v", err, console.ErrNotFound)
		}
	})
}

// TestSharedLogIsThatOfOneBuild gives the number of a live log to another build, as a queue does
// that is set back to an earlier time.
func TestSharedLogIsThatOfOneBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{build: 1, text: []byte("one\n")}
		s := console.NewShared(k)
		var text bytes.Buffer
		follow := func() chan error {
			r := openShared(t, s)
			ended := make(chan error, 1)
			go func() {
				_, err := console.Follow(t.Context(), r, 0, func(p []byte) error { text.Write(p); return nil })
				ended <- err
			}()
			synctest.Wait()
			return ended
		}
		first := follow()
		unread := openShared(t, s)
		k.set(func(k *keeper) { k.build, k.text = 2, []byte("the other build\n") })
		if _, err := unread.ReadAt(make([]byte, 4), 0); err != nil {
			t.Errorf("ReadAt of what was read before: %v", err)
		}
		if again := openShared(t, s); again.Size() != 16 {
			t.Errorf("the log of the other build has %d bytes, want 16", again.Size())
		}
		if err := <-first; !errors.Is(err, console.ErrGone) || text.String() != "one\n" {
			t.Errorf("a follower of the first build read %q, %v; want its own text and %v", text.String(), err, console.ErrGone)
		}
		text.Reset()
		second := follow()
		k.set(func(k *keeper) { k.complete = true })
		if err := <-second; err != nil || text.String() != "the other build\n" {
			t.Errorf("a follower of the other build read %q, %v", text.String(), err)
		}

		// The number is given again between the state and the text of a log.
		k.set(func(k *keeper) { k.build, k.complete = 3, false })
		late := openShared(t, s)
		k.set(func(k *keeper) { k.build = 4 })
		if n, err := late.ReadAt(make([]byte, 4), 0); n != 0 || !errors.Is(err, console.ErrGone) {
			t.Errorf("ReadAt = %d bytes, %v; want %v", n, err, console.ErrGone)
		}
	})
}

// TestSharedLogIsReadInBlocks reads a log from many offsets at once.
func TestSharedLogIsReadInBlocks(t *testing.T) {
	k := &keeper{text: make([]byte, 3<<20+17), complete: true}
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(k.text)
	r := openShared(t, console.NewShared(k))
	var readers sync.WaitGroup
	for i := range uint64(8) {
		readers.Go(func() {
			places := rand.New(rand.NewPCG(1, i))
			for range 50 {
				from := places.IntN(len(k.text))
				p := make([]byte, places.IntN(300<<10))
				n, err := r.ReadAt(p, int64(from))
				want := k.text[from:min(from+len(p), len(k.text))]
				if !bytes.Equal(p[:n], want) || (err != nil && !errors.Is(err, io.EOF)) || (n < len(p)) != errors.Is(err, io.EOF) {
					t.Errorf("ReadAt(%d bytes, %d) = %d, %v", len(p), from, n, err)
				}
			}
		})
	}
	readers.Wait()
	if k.largest > 128<<10 {
		t.Errorf("%d bytes were read at once, want at most 128 KiB", k.largest)
	}
	k.set(func(k *keeper) { k.read = 0 })
	if _, err := io.Copy(io.Discard, io.NewSectionReader(r, 0, r.Size())); err != nil {
		t.Fatal(err)
	}
	if k.read > 25 {
		t.Errorf("read %d times from one end to the other, want each block once", k.read)
	}
}

// The readers of a log share what is known of it, as long as there is one. After that, nothing is.
func TestReadersShareALogWhileThereIsOne(t *testing.T) {
	k := &keeper{text: []byte("text")}
	s := console.NewShared(k)
	open := func() *console.Reader {
		t.Helper()
		r, err := s.Open(t.Context(), "job", 1)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	read := func(r *console.Reader, want int) {
		t.Helper()
		if got, err := io.ReadAll(r.Part(0, 4)); string(got) != "text" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		if k.read != want {
			t.Errorf("the keeper was read %d times, want %d", k.read, want)
		}
	}
	first, second := open(), open()
	read(first, 1)
	read(second, 1)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third := open()
	read(third, 1)
	for _, r := range []*console.Reader{second, third} {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	last := open()
	defer last.Close()
	read(last, 2)
}

// What a block of a live log already has is not read again when it grows.
func TestBlockOfALiveLogGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{}
		s := console.NewShared(k)
		r := openShared(t, s)
		for n := range int64(4) {
			k.set(func(k *keeper) { k.text = append(k.text, "0123456789"...) })
			s.Wake("job")
			if size, _, err := r.Wait(t.Context(), 10*n); size != 10*(n+1) || err != nil {
				t.Fatalf("Wait = %d, %v", size, err)
			}
			k.set(func(k *keeper) { k.read, k.largest = 0, 0 })
			for range 2 {
				if got, err := io.ReadAll(r.Part(0, 10*(n+1))); len(got) != 10*int(n+1) || err != nil {
					t.Fatalf("read %q, %v", got, err)
				}
			}
			if k.read != 1 || k.largest != 10 {
				t.Errorf("the keeper was read %d times, %d bytes at once, want the ten that are new", k.read, k.largest)
			}
		}
	})
}

// TestShip copies a log to a keeper that has one fault.
// What is in memory of a log goes with its last reader.
func TestSharedLogIsForgottenWithItsLastReader(t *testing.T) {
	k := &keeper{build: 1, text: []byte("one\n")}
	s := console.NewShared(k)
	kept := func(want int, after string) {
		t.Helper()
		if got := console.Kept(s); got != want {
			t.Errorf("after %s, %d logs are kept, want %d", after, got, want)
		}
	}
	first, second := openShared(t, s), openShared(t, s)
	kept(1, "two readers opened one")
	first.Close()
	kept(1, "one of them closed it")
	k.set(func(k *keeper) { k.build = 2 })
	third := openShared(t, s) // the log of another build
	second.Close()
	kept(1, "a reader of another build opened its log")
	third.Close()
	kept(0, "all closed it")
	k.set(func(k *keeper) { k.away = true })
	if _, err := s.Open(t.Context(), "job", 1); !errors.Is(err, errAway) {
		t.Errorf("Open = %v, want %v", err, errAway)
	}
	kept(0, "a reader could not open it")
}

// A database that crashed can lose the end of a live log.
func TestSharedLogThatLosesItsEnd(t *testing.T) {
	k := &keeper{text: []byte("0123456789")}
	r := openShared(t, console.NewShared(k))
	k.set(func(k *keeper) { k.text = k.text[:4] })
	for from, want := range map[int64]string{0: "0123", 2: "23", 4: "", 7: ""} {
		part := r.Part(from, 10)
		if got, err := io.ReadAll(part); string(got) != want || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Part(%d, 10) = %q, %v, want %q and %v", from, got, err, want, io.ErrUnexpectedEOF)
		}
	}
}

func TestShip(t *testing.T) {
	forget := func(n int, err error) func(*keeper) error {
		return func(k *keeper) error {
			if len(k.text) > 60_000 {
				k.text, k.complete, k.after = k.text[:len(k.text)-n], false, nil
				return err
			}
			return nil
		}
	}
	for _, tt := range []struct {
		name   string
		keeper *keeper
		// tries is the number of calls that end with an error.
		tries int
	}{
		{"no fault", &keeper{}, 0},
		{"a part is there", &keeper{text: bytes.Repeat([]byte("line\n"), 100)}, 0},
		{"it is away", &keeper{away: true}, 1},
		{"an answer is lost", &keeper{after: forget(0, errAway)}, 1},
		{"a piece is lost", &keeper{after: forget(10_000, errAway)}, 1},
		{"a crash loses the end unnoticed", &keeper{after: forget(50_000, nil)}, 0},
		{"a crash costs all", &keeper{after: func(k *keeper) error { k.text, k.after = nil, nil; return nil }}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := console.New(t.TempDir())
			w := create(t, s, 1, 0)
			want := bytes.Repeat([]byte("line\n"), 40_000)
			_, _ = w.Write(want)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			r := open(t, s, 1)
			k := tt.keeper
			tries := 0
			for console.Ship(t.Context(), k, r, "job", 1, true) != nil {
				tries++
				k.set(func(k *keeper) { k.away = false })
			}
			if !bytes.Equal(k.text, want) || !k.complete || tries != tt.tries {
				t.Errorf("the keeper has %d bytes, complete %v, after %d errors; want all %d after %d", len(k.text), k.complete, tries, len(want), tt.tries)
			}
			if err := console.Ship(t.Context(), k, r, "job", 1, true); err != nil {
				t.Errorf("Ship again = %v", err)
			}
		})
	}
}

func TestShipLeavesTheEndToOthers(t *testing.T) {
	s := console.New(t.TempDir())
	w := create(t, s, 1, 0)
	w.Line("line")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := open(t, s, 1)
	k := &keeper{}
	if err := console.Ship(t.Context(), k, r, "job", 1, false); err != nil || k.complete || string(k.text) != "line\n" {
		t.Errorf("Ship of a part = %v, complete %v, %q", err, k.complete, k.text)
	}
	k = &keeper{text: []byte("line\nwhat the file had until the power failed")}
	if err := console.Ship(t.Context(), k, r, "job", 1, false); err != nil || len(k.text) < 30 {
		t.Errorf("Ship of less than is there = %v, %q", err, k.text)
	}
	if err := console.Ship(t.Context(), k, r, "job", 1, true); err == nil || k.complete {
		t.Errorf("Ship of less than is there, as all = %v, complete %v", err, k.complete)
	}
	k = &keeper{text: []byte("l")}
	k.after = func(k *keeper) error { k.complete = true; return nil } // another server ends it
	if err := console.Ship(t.Context(), k, r, "job", 1, true); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("Ship to a log that another server has ended = %v, want %v", err, queue.ErrNotRunning)
	}
}
