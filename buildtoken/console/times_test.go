package console_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/console"
)

// times returns the stamps of a part as offset@milliseconds since the start.
func times(t testing.TB, r *console.Reader, start time.Time, from, to int64) []string {
	t.Helper()
	all, err := r.Times(t.Context(), from, to)
	if err != nil {
		t.Fatalf("Times(%d, %d) = %v", from, to, err)
	}
	var text []string
	for _, s := range all {
		text = append(text, fmt.Sprintf("%d@%d", s.Offset, s.At.Sub(start).Milliseconds()))
	}
	return text
}

func TestTimesOfALog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := console.New(dir)
		start := time.Now()
		w := create(t, s, 1, 0)
		r := open(t, s, 1)
		if got := times(t, r, start, 0, 100); got != nil {
			t.Errorf("before the first write: %v", got)
		}
		write(t, w, "one\n") // 0
		time.Sleep(99 * time.Millisecond)
		write(t, w, "two\n") // too soon for a stamp
		time.Sleep(time.Millisecond)
		write(t, w, "three\n") // 8
		time.Sleep(time.Hour)
		w.Line("four") // 14
		for _, tt := range []struct {
			from, to int64
			want     []string
		}{
			{0, 19, []string{"0@0", "8@100", "14@3600100"}},
			{0, 8, []string{"0@0"}},
			{4, 9, []string{"0@0", "8@100"}},
			{8, 14, []string{"8@100"}},
			{13, 15, []string{"8@100", "14@3600100"}},
			{18, 19, []string{"14@3600100"}},
			{99, 200, []string{"14@3600100"}},
			{5, 5, []string{"0@0"}},
		} {
			if diff := cmp.Diff(tt.want, times(t, r, start, tt.from, tt.to)); diff != "" {
				t.Errorf("Times(%d, %d) (-want +got):\n%s", tt.from, tt.to, diff)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}

		// A crash in the middle of a record that also loses the end of the log. The build
		// continues after it.
		path := filepath.Join(dir, "app", "1.log.times")
		records, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lost := []byte{
			0, 0, 0, 0, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 1, // of the first byte that was lost
			0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 1,
		}
		if err := os.WriteFile(path, append(append(records, lost...), "half"...), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		w, err = s.Resume("app", 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		write(t, w, "five\n")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if err := s.Append("app", 1, "six"); err != nil {
			t.Fatal(err)
		}
		want := []string{"14@3600100", "19@7200100", "24@10800100"}
		if diff := cmp.Diff(want, times(t, open(t, s, 1), start, 15, 99)); diff != "" {
			t.Errorf("after a crash (-want +got):\n%s", diff)
		}

		if err := s.Remove("app", 1); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "app")); !os.IsNotExist(err) {
			t.Errorf("the folder of a log that was removed: %v, want it gone with the times", err)
		}
	})
}

// A crash that loses all of a log loses its only time too.
func TestTimesOfALogThatWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := console.New(dir)
		write(t, create(t, s, 1, 0), "one\n")
		if err := os.Truncate(filepath.Join(dir, "app", "1.log"), 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		start := time.Now()
		s = console.New(dir)
		if err := s.Append("app", 1, "lost"); err != nil {
			t.Fatal(err)
		}
		r := open(t, s, 1)
		if diff := cmp.Diff([]string{"0@0"}, times(t, r, start, 0, 99)); diff != "" {
			t.Errorf("times (-want +got):\n%s", diff)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if all, err := r.Times(t.Context(), 0, 99); err == nil {
			t.Errorf("Times of a closed reader = %v, want an error", all)
		}
	})
}

// A large file of times is not read from its start.
func TestTimesOfALongLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := console.New(t.TempDir())
		start := time.Now()
		w := create(t, s, 1, 0)
		for range 1000 {
			write(t, w, "0123456789")
			time.Sleep(time.Second / 2)
			write(t, w, "") // has no time
			time.Sleep(time.Second / 2)
		}
		r := open(t, s, 1)
		for _, n := range []int64{0, 1, 500, 934, 935, 936, 937, 938, 998, 999} {
			want := []string{fmt.Sprintf("%d@%d", 10*n, 1000*n)}
			if diff := cmp.Diff(want, times(t, r, start, 10*n+5, 10*n+9)); diff != "" {
				t.Errorf("of line %d (-want +got):\n%s", n, diff)
			}
		}
		if got := times(t, r, start, 0, 10_000); len(got) != 1000 {
			t.Errorf("%d stamps, want 1000", len(got))
		}
	})
}

// A log must work without its times.
func TestLogWithoutTimes(t *testing.T) {
	dir := t.TempDir()
	s := console.New(dir)
	if err := os.MkdirAll(filepath.Join(dir, "app", "1.log.times", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	w := create(t, s, 1, 0)
	write(t, w, "one\n")
	if err := w.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if got := content(t, s, 1); got != "one\n" {
		t.Errorf("log %q", got)
	}
	if all, err := open(t, s, 1).Times(t.Context(), 0, 4); err == nil {
		t.Errorf("Times of a directory = %v, want an error", all)
	}

	copied := create(t, s, 2, 0)
	if _, err := copied.Copy([]byte("one\n")); err != nil {
		t.Fatal(err)
	}
	write(t, copied, "two\n")
	if got := times(t, open(t, s, 2), time.Now(), 0, 99); got != nil {
		t.Errorf("times of a copy: %v", got)
	}

	// The log of an earlier build with the same number, which was put aside or is left over.
	w = create(t, s, 3, 0)
	write(t, w, "old\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutAside("app", 3); err != nil {
		t.Fatal(err)
	}
	create(t, s, 3, 0)
	if got := times(t, open(t, s, 3), time.Now(), 0, 99); got != nil {
		t.Errorf("times of another log: %v", got)
	}
	if err := s.RemoveBelow("app", 9); err != nil {
		t.Log(err) // an error about the directory in its place
	}
	left, err := filepath.Glob(filepath.Join(dir, "app", "*"))
	if err != nil || slices.ContainsFunc(left, func(name string) bool { return filepath.Base(name) == "2.log.times" }) {
		t.Errorf("left: %v, %v", left, err)
	}
}
