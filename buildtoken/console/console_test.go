package console_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/console"
)

func create(t testing.TB, s *console.Store, number, limit int64) *console.Writer {
	t.Helper()
	w, err := s.Create("app", number, limit)
	if err != nil {
		t.Fatalf("Create(app, %d) = %v", number, err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func open(t testing.TB, s *console.Store, number int64) *console.Reader {
	t.Helper()
	r, err := s.Open("app", number)
	if err != nil {
		t.Fatalf("Open(app, %d) = %v", number, err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func content(t testing.TB, s *console.Store, number int64) string {
	t.Helper()
	r := open(t, s, number)
	b, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		t.Fatalf("read log %d: %v", number, err)
	}
	return string(b)
}

func write(t testing.TB, w *console.Writer, text string) {
	t.Helper()
	if n, err := w.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("Write(%d bytes) = %d, %v, want all of them", len(text), n, err)
	}
}

func TestWriterGivesReadersTheBytesAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	s := console.New(dir)
	w := create(t, s, 1, 0)
	r := open(t, s, 1)
	if r.Size() != 0 || r.Complete() {
		t.Errorf("new log: size %d, complete %v, want 0, false", r.Size(), r.Complete())
	}
	write(t, w, "one\r\ntw")
	if got := content(t, s, 1); got != "one\r\ntw" {
		t.Errorf("live log = %q, want the raw bytes", got)
	}
	w.Line("Finished: SUCCESS")
	if err := w.Close(); err != nil {
		t.Fatalf("Close() = %v", err)
	}
	if want := int64(len("one\r\ntw\nFinished: SUCCESS\n")); r.Size() != want || !r.Complete() {
		t.Errorf("closed log: size %d, complete %v, want %d, true", r.Size(), r.Complete(), want)
	}
	if got := content(t, console.New(dir), 1); got != "one\r\ntw\nFinished: SUCCESS\n" {
		t.Errorf("after a restart the log = %q", got)
	}
}

func TestCreateNeverTouchesAnExistingLog(t *testing.T) {
	s := console.New(t.TempDir())
	w := create(t, s, 1, 0)
	write(t, w, "first\n")
	if _, err := s.Create("app", 1, 0); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second Create = %v, want fs.ErrExist", err)
	}
	if r := open(t, s, 1); r.Complete() {
		t.Error("the refused Create ended the first log")
	}
	if got := content(t, s, 1); got != "first\n" {
		t.Errorf("log = %q, want it as it was", got)
	}
}

func TestPathsThatLeadElsewhereAreRefused(t *testing.T) {
	s := console.New(t.TempDir())
	for _, tt := range []struct {
		name, job string
		number    int64
	}{
		{"parent folder", "..", 1},
		{"the folder itself", ".", 1},
		{"no name", "", 1},
		{"two elements", "a/b", 1},
		{"absolute", "/etc", 1},
		{"number zero", "app", 0},
		{"negative number", "app", -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := s.Create(tt.job, tt.number, 0); err == nil {
				t.Error("Create took it")
			}
			if _, err := s.Open(tt.job, tt.number); err == nil || errors.Is(err, console.ErrNotFound) {
				t.Errorf("Open = %v, want a refusal", err)
			}
			if err := s.Append(tt.job, tt.number, "x"); err == nil {
				t.Error("Append took it")
			}
			if _, err := s.Resume(tt.job, tt.number, 0); err == nil {
				t.Error("Resume took it")
			}
			if _, err := s.PutAside(tt.job, tt.number); err == nil {
				t.Error("PutAside took it")
			}
			if err := s.Remove(tt.job, tt.number); err == nil {
				t.Error("Remove took it")
			}
			if err := s.RemoveBelow(tt.job, 5); err == nil && tt.job != "app" {
				t.Error("RemoveBelow took it")
			}
		})
	}
}

func TestWriterLimit(t *testing.T) {
	const note = "[output limit of 8 bytes reached, the rest is dropped]\n"
	for _, tt := range []struct {
		name   string
		writes []string
		want   string
	}{
		{"exactly the limit is no reason for a note", []string{"1234567\n"}, "1234567\n"},
		{"one byte more is dropped and noted", []string{"1234567\n", "x"}, "1234567\n" + note},
		{"the note comes once", []string{"1234567890", "more", "and more"}, "12345678\n" + note},
		{"an empty write changes nothing", []string{"1234567\n", ""}, "1234567\n"},
		{"a sequence that does not fit is dropped whole", []string{"1234567€"}, "1234567\n" + note},
		{"a sequence that fits is kept", []string{"12345€", "x"}, "12345€\n" + note},
		{"a sequence begun by an earlier write is finished", []string{"1234567\xe2", "\x82\xac and more"}, "1234567€\n" + note},
		{"also over three writes", []string{"1234567\xf0", "\x9f", "\x98", "\x80 and more"}, "1234567😀\n" + note},
		{"a stray continuation byte behind the limit is dropped", []string{"1234567\n", "\x80"}, "1234567\n" + note},
		{"bytes that are no UTF-8 are cut at the limit", []string{"\xff\xff\xff\xff\xff\xff\xff\xff\xff"}, "\xff\xff\xff\xff\xff\xff\xff\xff\n" + note},
		{"stray continuation bytes too", []string{"\x80\x80\x80\x80\x80\x80\x80\x80\x80"}, "\x80\x80\x80\x80\x80\x80\x80\x80\n" + note},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := console.New(t.TempDir())
			w := create(t, s, 1, 8)
			for _, p := range tt.writes {
				write(t, w, p)
			}
			w.Line("Finished: SUCCESS")
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if !strings.HasSuffix(want, "\n") {
				want += "\n"
			}
			if diff := cmp.Diff(want+"Finished: SUCCESS\n", content(t, s, 1)); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSmallestLimit(t *testing.T) {
	s := console.New(t.TempDir())
	w := create(t, s, 1, 1)
	write(t, w, "12")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := content(t, s, 1), "1\n[output limit of 1 bytes reached, the rest is dropped]\n"; got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
}

// A log that is being written is not put aside.
func TestPutAside(t *testing.T) {
	s := console.New(t.TempDir())
	w := create(t, s, 1, 0)
	write(t, w, "first\n")
	if name, err := s.PutAside("app", 1); !errors.Is(err, console.ErrLive) || name != "" {
		t.Errorf("PutAside of a live log = %q, %v, want %v", name, err, console.ErrLive)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name, err := s.PutAside("app", 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open("app", 1); !errors.Is(err, console.ErrNotFound) {
		t.Errorf("Open of a log that was put aside = %v, want %v", err, console.ErrNotFound)
	}
	if text, err := os.ReadFile(name); string(text) != "first\n" || err != nil {
		t.Errorf("put aside %q, %v", text, err)
	}
	if name, err := s.PutAside("app", 2); err == nil || name != "" {
		t.Errorf("PutAside of no log = %q, %v, want an error", name, err)
	}
}

func TestWriterLineIsOneLineOfItsOwn(t *testing.T) {
	s := console.New(t.TempDir())
	w := create(t, s, 1, 0)
	w.Line("Started by x\nFinished: SUCCESS\r\nreally")
	write(t, w, "prompt> ")
	w.Line("Aborted")
	w.Line("Finished: ABORTED")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.Line("too late")
	if got, want := content(t, s, 1), "Started by x Finished: SUCCESS really\nprompt> \nAborted\nFinished: ABORTED\n"; got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Close = %v, want os.ErrClosed", err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("second Close = %v, want nil", err)
	}
}

// badDisk takes room bytes and refuses the rest until room is raised.
type badDisk struct {
	console.File
	room *int
}

func (d badDisk) Write(p []byte) (int, error) {
	n := min(len(p), *d.room)
	*d.room -= n
	if m, err := d.File.Write(p[:n]); err != nil || n == len(p) {
		return m, err
	}
	return n, syscall.ENOSPC
}

func TestFullDiskDoesNotReachTheBuild(t *testing.T) {
	s := console.New(t.TempDir())
	w := create(t, s, 1, 0)
	room := 6
	console.WrapFile(w, func(f console.File) console.File { return badDisk{f, &room} })
	write(t, w, "one\n")
	write(t, w, "a\nlost, ")
	write(t, w, "all of it\n")
	if got := content(t, s, 1); got != "one\na\n" {
		t.Errorf("log on the full disk = %q, want what fitted", got)
	}
	room = math.MaxInt
	write(t, w, "four\n")
	w.Line("Finished: SUCCESS")
	if err := w.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close = %v, want the disk's error", err)
	}
	want := fmt.Sprintf("one\na\n[16 bytes are missing here: %v]\nfour\nFinished: SUCCESS\n", syscall.ENOSPC)
	if diff := cmp.Diff(want, content(t, s, 1)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestOneByteThatIsMissing(t *testing.T) {
	s := console.New(t.TempDir())
	w := create(t, s, 1, 0)
	room := 4
	console.WrapFile(w, func(f console.File) console.File { return badDisk{f, &room} })
	write(t, w, "one\n")
	write(t, w, "x")
	room = math.MaxInt
	write(t, w, "two\n")
	if err := w.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close = %v, want the disk's error", err)
	}
	if got, want := content(t, s, 1), fmt.Sprintf("one\n[1 bytes are missing here: %v]\ntwo\n", syscall.ENOSPC); got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
}

func TestFullDiskWithRoomAtTheEnd(t *testing.T) {
	s := console.New(t.TempDir())
	w := create(t, s, 1, 0)
	room := 4
	console.WrapFile(w, func(f console.File) console.File { return badDisk{f, &room} })
	write(t, w, "one\n")
	write(t, w, "two\n")
	room = math.MaxInt
	if err := w.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close = %v, want the disk's error", err)
	}
	if got, want := content(t, s, 1), fmt.Sprintf("one\n[4 bytes are missing here: %v]\n", syscall.ENOSPC); got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
}

func TestFullDiskUntilTheEnd(t *testing.T) {
	s := console.New(t.TempDir())
	w := create(t, s, 1, 0)
	room := 2
	console.WrapFile(w, func(f console.File) console.File { return badDisk{f, &room} })
	write(t, w, "one\n")
	w.Line("Finished: SUCCESS")
	if err := w.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close = %v, want the disk's error", err)
	}
	if r := open(t, s, 1); !r.Complete() || content(t, s, 1) != "on" {
		t.Errorf("log = %q, complete %v", content(t, s, 1), r.Complete())
	}
}

func TestAppend(t *testing.T) {
	for _, tt := range []struct {
		name, before, want string
	}{
		{"starts on a new line after a broken one", "half a li", "half a li\nlost\nFinished: ABORTED\n"},
		{"adds no empty line after a whole one", "whole\n", "whole\nlost\nFinished: ABORTED\n"},
		{"to an empty log", "", "lost\nFinished: ABORTED\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, create(t, console.New(dir), 1, 0), tt.before) // never closed, as after a crash
			s := console.New(dir)
			if err := s.Append("app", 1, "lost", "Finished: ABORTED"); err != nil {
				t.Fatalf("Append = %v", err)
			}
			if got := content(t, s, 1); got != tt.want {
				t.Errorf("log = %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("makes a log that the crash prevented", func(t *testing.T) {
		s := console.New(t.TempDir())
		if err := s.Append("app", 1, "lost\nin two", "Finished: ABORTED"); err != nil {
			t.Fatalf("Append = %v", err)
		}
		if got, want := content(t, s, 1), "lost in two\nFinished: ABORTED\n"; got != want {
			t.Errorf("log = %q, want %q", got, want)
		}
	})
	t.Run("never beside a writer, but after it", func(t *testing.T) {
		s := console.New(t.TempDir())
		w := create(t, s, 1, 0)
		if err := s.Append("app", 1, "x"); !errors.Is(err, console.ErrLive) {
			t.Errorf("Append = %v, want ErrLive", err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Append("app", 1, "x"); err != nil {
			t.Errorf("Append after Close = %v", err)
		}
		if got := content(t, s, 1); got != "x\n" {
			t.Errorf("log = %q, want %q", got, "x\n")
		}
	})
}

func TestResume(t *testing.T) {
	dir := t.TempDir()
	w := create(t, console.New(dir), 1, 0)
	write(t, w, "before the rest") // never closed, as after a crash
	s := console.New(dir)
	w, err := s.Resume("app", 1, 5)
	if err != nil {
		t.Fatalf("Resume = %v", err)
	}
	if _, err := s.Resume("app", 1, 5); !errors.Is(err, console.ErrLive) {
		t.Errorf("Resume beside a writer = %v, want ErrLive", err)
	}
	r, err := s.Open("app", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Complete() || r.Size() != int64(len("before the rest")) {
		t.Errorf("the resumed log is complete=%v with %d bytes, want it live with what was there", r.Complete(), r.Size())
	}
	w.Line("resumed")
	write(t, w, "12345")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := content(t, s, 1), "before the rest\nresumed\n12345"; got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
	if w, err = s.Resume("app", 2, 0); err != nil {
		t.Fatalf("Resume of a log that is gone = %v, want a new one", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestReadAt(t *testing.T) {
	s := console.New(t.TempDir())
	w := create(t, s, 1, 0)
	write(t, w, "0123456789")
	r := open(t, s, 1)
	for _, tt := range []struct {
		name   string
		offset int64
		len    int
		want   string
		err    error
	}{
		{"from the start", 0, 4, "0123", nil},
		{"up to the end", 6, 4, "6789", nil},
		{"over the end", 8, 4, "89", io.EOF},
		{"at the end", 10, 4, "", io.EOF},
		{"far behind it", math.MaxInt64, 4, "", io.EOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			buf := make([]byte, tt.len)
			n, err := r.ReadAt(buf, tt.offset)
			if string(buf[:n]) != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("ReadAt(%d) = %q, %v, want %q, %v", tt.offset, buf[:n], err, tt.want, tt.err)
			}
		})
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("ReadAt(-1) = %v, want an error of its own", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r = open(t, s, 1)
	if err := s.Append("app", 1, "later"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4)
	if n, err := r.ReadAt(buf, 8); string(buf[:n]) != "89" || !errors.Is(err, io.EOF) {
		t.Errorf("ReadAt(8) after lines were appended = %q, %v, want what was there before", buf[:n], err)
	}
}

// A log that cannot be removed is reported, and keeps no other.
func TestRemoveThatFails(t *testing.T) {
	dir := t.TempDir()
	s := console.New(dir)
	if err := os.MkdirAll(filepath.Join(dir, "app", "1.log", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Append("app", 2, "x"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("app", 1, 2); err == nil || !strings.Contains(err.Error(), "1.log") {
		t.Errorf("Remove = %v, want an error about the log that stays", err)
	}
	if _, err := s.Open("app", 2); !errors.Is(err, console.ErrNotFound) {
		t.Errorf("Open of the other log = %v, want %v", err, console.ErrNotFound)
	}
}

// Where no folder can be made, each method returns an error.
func TestStoreBelowAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := console.New(filepath.Join(file, "logs"))
	for name, do := range map[string]func() error{
		"Create":      func() error { _, err := s.Create("app", 1, 0); return err },
		"Resume":      func() error { _, err := s.Resume("app", 1, 0); return err },
		"Append":      func() error { return s.Append("app", 1, "x") },
		"PutAside":    func() error { _, err := s.PutAside("app", 1); return err },
		"Open":        func() error { _, err := s.Open("app", 1); return err },
		"Remove":      func() error { return s.Remove("app", 1) },
		"Remove none": func() error { return s.Remove("app") },
		"RemoveBelow": func() error { return s.RemoveBelow("app", 9) },
	} {
		if err := do(); err == nil || errors.Is(err, console.ErrNotFound) {
			t.Errorf("%s = %v, want the error of the system", name, err)
		}
	}
}

func TestRemoveBelowManyDigits(t *testing.T) {
	dir := t.TempDir()
	s := console.New(dir)
	for _, number := range []int64{9, 10, 19, 100} {
		if err := s.Append("app", number, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.RemoveBelow("app", 100); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "app", "*.log"))
	if err != nil || len(logs) != 1 || filepath.Base(logs[0]) != "100.log" {
		t.Errorf("left %q, %v, want only 100.log", logs, err)
	}
}

func TestPart(t *testing.T) {
	s := console.New(t.TempDir())
	w := create(t, s, 1, 0)
	write(t, w, "0123456789")
	r := open(t, s, 1)
	for _, tt := range []struct {
		from, to int64
		want     string
		err      error
	}{
		{0, 10, "0123456789", nil},
		{2, 5, "234", nil},
		{9, 10, "9", nil},
		{5, 5, "", nil},
		{8, 12, "89", io.ErrUnexpectedEOF},
		{10, 12, "", io.ErrUnexpectedEOF},
	} {
		p := r.Part(tt.from, tt.to)
		got, err := io.ReadAll(p)
		if string(got) != tt.want || !errors.Is(err, tt.err) || !errors.Is(p.Err(), tt.err) {
			t.Errorf("Part(%d, %d) = %q, %v with Err() = %v, want %q, %v", tt.from, tt.to, got, err, p.Err(), tt.want, tt.err)
		}
		end := tt.err
		if end == nil {
			end = io.EOF
		}
		if n, err := p.Read(make([]byte, 1)); n != 0 || !errors.Is(err, end) {
			t.Errorf("Part(%d, %d): one more Read = %d, %v, want %v", tt.from, tt.to, n, err, end)
		}
	}
}

// Bytes that a reader was promised, and that another program has cut off, are no end of the log.
func TestTruncatedLog(t *testing.T) {
	dir := t.TempDir()
	s := console.New(dir)
	w := create(t, s, 1, 0)
	write(t, w, "0123456789")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := open(t, s, 1)
	if err := os.Truncate(filepath.Join(dir, "app", "1.log"), 4); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 8)
	if n, err := r.ReadAt(p, 0); n != 4 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("ReadAt = %d, %v, want 4, %v", n, err, io.ErrUnexpectedEOF)
	}
	part := r.Part(0, 10)
	if got, err := io.ReadAll(part); string(got) != "0123" || !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(part.Err(), io.ErrUnexpectedEOF) {
		t.Errorf("Part = %q, %v, want %v", got, err, io.ErrUnexpectedEOF)
	}
	var got []byte
	at, err := console.Follow(t.Context(), r, 0, func(p []byte) error {
		got = append(got, p...)
		return nil
	})
	if at != 4 || string(got) != "0123" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Follow = %d, %v with %q, want %v after 4 bytes", at, err, got, io.ErrUnexpectedEOF)
	}
}

func TestOpenUnknownLog(t *testing.T) {
	if _, err := console.New(t.TempDir()).Open("app", 7); !errors.Is(err, console.ErrNotFound) {
		t.Errorf("Open = %v, want ErrNotFound", err)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := console.New(t.TempDir())
		w := create(t, s, 1, 0)
		r := open(t, s, 1)
		ctx, cancel := context.WithCancelCause(t.Context())
		type answer struct {
			size     int64
			complete bool
			err      error
		}
		got := make(chan answer, 1)
		wait := func(offset int64) {
			go func() {
				size, complete, err := r.Wait(ctx, offset)
				got <- answer{size, complete, err}
			}()
			synctest.Wait()
		}
		none := func(when string) {
			t.Helper()
			synctest.Wait()
			if len(got) != 0 {
				t.Fatalf("Wait returned %+v %s", <-got, when)
			}
		}
		want := func(a answer, when string) {
			t.Helper()
			synctest.Wait()
			if len(got) != 1 {
				t.Fatalf("Wait did not return %s", when)
			}
			if g := <-got; g.size != a.size || g.complete != a.complete || !errors.Is(g.err, a.err) {
				t.Errorf("Wait %s = %+v, want %+v", when, g, a)
			}
		}
		wait(-1)
		want(answer{0, false, nil}, "for offset -1")
		wait(3)
		none("on an empty log")
		write(t, w, "abc")
		none("when only the offset is reached")
		write(t, w, "d")
		want(answer{4, false, nil}, "when there is more")
		wait(0)
		want(answer{4, false, nil}, "when there was more already")
		wait(4)
		none("without anything new")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		want(answer{4, true, nil}, "when the log ends")
		wait(math.MaxInt64)
		want(answer{4, true, nil}, "on a complete log")

		create(t, s, 2, 0)
		r = open(t, s, 2)
		wait(0)
		none("on the second log")
		gone := errors.New("client gone")
		cancel(gone)
		want(answer{0, false, gone}, "when its context ends")
	})
}

// Settle sleeps as long as the log may grow and there is a reader for it.
func TestSettle(t *testing.T) {
	const moment = 250 * time.Millisecond
	for _, tt := range []struct {
		name           string
		before, during func(w *console.Writer, cancel func())
		want           bool
		slept          time.Duration
	}{
		{"a live log", nil, nil, true, moment},
		{"a log that grows", nil, func(w *console.Writer, _ func()) { w.Line("more") }, true, moment},
		{"a log that ends", nil, func(w *console.Writer, _ func()) { w.Close() }, true, moment / 2},
		{"a reader that leaves", nil, func(_ *console.Writer, cancel func()) { cancel() }, false, moment / 2},
		{"a complete log", func(w *console.Writer, _ func()) { w.Close() }, nil, true, 0},
		{"a complete log, of a reader that has left", func(w *console.Writer, cancel func()) { w.Close(); cancel() }, nil, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := console.New(t.TempDir())
			synctest.Test(t, func(t *testing.T) {
				w := create(t, s, 1, 0)
				r := open(t, s, 1)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.before != nil {
					tt.before(w, cancel)
				}
				if tt.during != nil {
					time.AfterFunc(moment/2, func() { tt.during(w, cancel) })
				}
				begin := time.Now()
				if got := r.Settle(ctx); got != tt.want || time.Since(begin) != tt.slept {
					t.Errorf("Settle = %v after %v, want %v after %v", got, time.Since(begin), tt.want, tt.slept)
				}
				synctest.Wait()
			})
		})
	}
}

func TestFollowersAllReadTheSameBytes(t *testing.T) {
	s := console.New(t.TempDir())
	w := create(t, s, 1, 0)
	var want bytes.Buffer
	got := make([]bytes.Buffer, 50)
	errs := make([]error, len(got))
	var followers, started sync.WaitGroup
	for i := range got {
		started.Add(1)
		followers.Go(func() {
			r, err := s.Open("app", 1)
			started.Done()
			if err != nil {
				errs[i] = err
				return
			}
			defer r.Close()
			var n int64
			n, errs[i] = console.Follow(t.Context(), r, 0, func(p []byte) error {
				got[i].Write(p)
				return nil
			})
			if int(n) != got[i].Len() {
				t.Errorf("follower %d: Follow = %d after %d bytes", i, n, got[i].Len())
			}
		})
		if i == len(got)/2 {
			write(t, w, "half of them are there\n")
			want.WriteString("half of them are there\n")
		}
	}
	started.Wait()
	for i := range 500 {
		line := fmt.Sprintf("%d %s\n", i, strings.Repeat("x", i%200*10))
		write(t, w, line)
		want.WriteString(line)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	followers.Wait()
	for i := range got {
		if errs[i] != nil {
			t.Errorf("follower %d: %v", i, errs[i])
		}
		if !bytes.Equal(got[i].Bytes(), want.Bytes()) {
			t.Errorf("follower %d read %d bytes, want the %d that were written", i, got[i].Len(), want.Len())
		}
	}
}

func TestSlowFollowerDoesNotHoldTheWriter(t *testing.T) {
	s := console.New(t.TempDir())
	w := create(t, s, 1, 0)
	write(t, w, "first\n")
	r := open(t, s, 1)
	stuck, release, done := make(chan bool), make(chan bool), make(chan error, 1)
	go func() {
		first := true
		_, err := console.Follow(t.Context(), r, 0, func([]byte) error {
			if first {
				first = false
				close(stuck)
				<-release
			}
			return nil
		})
		done <- err
	}()
	<-stuck
	big := strings.Repeat("x", 1<<20)
	write(t, w, big) // blocks for ever if it waits for the follower
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Errorf("Follow = %v", err)
	}
}

func TestFollowEndsEarly(t *testing.T) {
	dir := t.TempDir()
	s := console.New(dir)
	w := create(t, s, 1, 0)
	write(t, w, strings.Repeat("x", 100<<10))
	broken := errors.New("client gone")
	calls := 0
	n, err := console.Follow(t.Context(), open(t, s, 1), 0, func(p []byte) error {
		if calls++; calls == 2 {
			return broken
		}
		return nil
	})
	if n != 32<<10 || !errors.Is(err, broken) {
		t.Errorf("Follow = %d, %v, want only what was taken, and the error of write", n, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	n, err = console.Follow(ctx, open(t, s, 1), n, func(p []byte) error {
		cancel(broken)
		return nil
	})
	if n != 64<<10 || !errors.Is(err, broken) {
		t.Errorf("Follow = %d, %v, want an end after the first piece, and the cause", n, err)
	}
	if err := os.Truncate(filepath.Join(dir, "app", "1.log"), 50<<10); err != nil {
		t.Fatal(err)
	}
	n, err = console.Follow(t.Context(), open(t, s, 1), 0, func([]byte) error { return nil })
	if n != 50<<10 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Follow of a truncated file = %d, %v, want what is there, and that the rest is missing", n, err)
	}
}

// TestFollowGathersWhatComesAllTheTime writes a line every centisecond. The last bytes must be
// passed on at once, however the log ends.
func TestFollowGathersWhatComesAllTheTime(t *testing.T) {
	stopped := errors.New("server stops")
	for _, tt := range []struct {
		name string
		end  func(w *console.Writer, cancel context.CancelCauseFunc)
		want error
	}{
		{"the log ends", func(w *console.Writer, _ context.CancelCauseFunc) { w.Close() }, nil},
		{"the context ends", func(_ *console.Writer, cancel context.CancelCauseFunc) { cancel(stopped) }, stopped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := console.New(dir)
				w := create(t, s, 1, 0)
				r := open(t, s, 1)
				ctx, cancel := context.WithCancelCause(t.Context())
				var got, want bytes.Buffer
				var pieces []string
				ended := make(chan error, 1)
				go func() {
					_, err := console.Follow(ctx, r, 0, func(p []byte) error {
						got.Write(p)
						pieces = append(pieces, string(p))
						return nil
					})
					ended <- err
				}()
				synctest.Wait()
				for n := range 255 {
					line := fmt.Sprintf("line %d\n", n)
					want.WriteString(line)
					write(t, w, line)
					synctest.Wait()
					if n == 0 && got.String() != line {
						t.Errorf("after a silence Follow gave %q, want the line at once", got.String())
					}
					time.Sleep(10 * time.Millisecond)
				}
				write(t, w, "the end")
				want.WriteString("the end")
				synctest.Wait()
				if strings.HasSuffix(got.String(), "the end") {
					t.Fatal("Follow held nothing back, so the test proves nothing")
				}
				tt.end(w, cancel)
				synctest.Wait()
				select {
				case err := <-ended:
					if !errors.Is(err, tt.want) {
						t.Errorf("Follow = %v, want %v", err, tt.want)
					}
				default:
					t.Fatal("Follow goes on")
				}
				if diff := cmp.Diff(want.String(), got.String()); diff != "" {
					t.Errorf("Follow gave (-want +got):\n%s", diff)
				}
				if len(pieces) > 12 {
					t.Errorf("Follow gave %d pieces in two and a half seconds, want 12 at most", len(pieces))
				}
				cancel(nil)
			})
		})
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	s := console.New(dir)
	for n := range int64(6) {
		if err := s.Append("app", n+1, "x"); err != nil {
			t.Fatal(err)
		}
	}
	names := func() []string {
		var got []string
		entries, _ := os.ReadDir(filepath.Join(dir, "app"))
		for _, e := range entries {
			got = append(got, e.Name())
		}
		return got
	}
	if err := s.Remove("app", 2, 99); err != nil {
		t.Errorf("Remove = %v, also a log that is not there is no error", err)
	}
	create(t, s, 2, 0)
	for _, foreign := range []string{"01.log", "0.log", "notes"} {
		if err := os.WriteFile(filepath.Join(dir, "app", foreign), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.RemoveBelow("app", 5); err != nil {
		t.Errorf("RemoveBelow = %v", err)
	}
	if diff := cmp.Diff([]string{"0.log", "01.log", "2.log", "5.log", "5.log.times", "6.log", "6.log.times", "notes"}, names()); diff != "" {
		t.Errorf("files after RemoveBelow(5): the live log and what is no log must stay (-want +got):\n%s", diff)
	}
	for _, foreign := range []string{"01.log", "0.log", "notes"} {
		if err := os.Remove(filepath.Join(dir, "app", foreign)); err != nil {
			t.Fatal(err)
		}
	}
	if runtime.GOOS != "windows" {
		if err := s.Remove("app", 2, 5, 6); err != nil {
			t.Errorf("Remove = %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "app")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the job's empty folder: %v, want it gone", err)
		}
	}
	if err := s.RemoveBelow("never-built", 5); err != nil {
		t.Errorf("RemoveBelow of a job without logs = %v", err)
	}
}

func TestCreateWhileTheLastLogGoes(t *testing.T) {
	s := console.New(t.TempDir())
	var wg sync.WaitGroup
	for n := range int64(50) {
		if err := s.Append("app", n+1, "x"); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := s.Remove("app", n+1); err != nil {
				t.Errorf("Remove = %v", err)
			}
		})
		wg.Go(func() {
			w, err := s.Create("app", 1000+n, 0)
			if err != nil {
				t.Errorf("Create beside Remove = %v", err)
				return
			}
			if err := w.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
			if err := s.Remove("app", 1000+n); err != nil {
				t.Errorf("Remove = %v", err)
			}
		})
	}
	wg.Wait()
}

func FuzzRange(f *testing.F) {
	f.Add([]byte("hello\nworld\n"), int64(0), int64(0), 4)
	f.Add([]byte("hello\nworld\n"), int64(6), int64(20), 1)
	f.Add([]byte("x"), int64(-1), int64(math.MaxInt64), 100)
	f.Add([]byte(""), int64(math.MinInt64), int64(-1), 0)
	f.Fuzz(func(t *testing.T, text []byte, offset, from int64, length int) {
		if length < 0 || length > 1<<16 {
			return
		}
		s := console.New(t.TempDir())
		w := create(t, s, 1, 0)
		write(t, w, string(text))
		r := open(t, s, 1)
		buf := make([]byte, length)
		n, err := r.ReadAt(buf, offset)
		want := text[min(max(offset, 0), int64(len(text))):]
		switch {
		case offset < 0:
			if err == nil || n != 0 {
				t.Fatalf("ReadAt(%d) = %d, %v, want an error", offset, n, err)
			}
		case !bytes.Equal(buf[:n], want[:min(length, len(want))]):
			t.Fatalf("ReadAt(%d) = %q, want the beginning of %q", offset, buf[:n], want)
		case n < length && !errors.Is(err, io.EOF):
			t.Fatalf("ReadAt(%d) = %d of %d, %v, want io.EOF", offset, n, length, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var got []byte
		end, err := console.Follow(t.Context(), r, from, func(p []byte) error {
			got = append(got, p...)
			return nil
		})
		if err != nil || end != max(from, 0, min(int64(len(text)), max(from, 0))+int64(len(got))) {
			t.Fatalf("Follow(%d) = %d, %v after %d bytes", from, end, err, len(got))
		}
		if want := text[min(max(from, 0), int64(len(text))):]; !bytes.Equal(got, want) {
			t.Fatalf("Follow(%d) gave %q, want %q", from, got, want)
		}
	})
}

func FuzzLimit(f *testing.F) {
	f.Add("héllo wörld €uro 😀!", uint8(3), uint8(2))
	f.Add("€€€€€€€", uint8(4), uint8(1))
	f.Add("\xff\x80\xe2\x82", uint8(2), uint8(1))
	f.Fuzz(func(t *testing.T, text string, limit, piece uint8) {
		if limit == 0 || piece == 0 {
			return
		}
		s := console.New(t.TempDir())
		w := create(t, s, 1, int64(limit))
		for rest := text; rest != ""; {
			n := min(int(piece), len(rest))
			write(t, w, rest[:n])
			rest = rest[n:]
		}
		got, note, dropped := strings.Cut(content(t, s, 1), "[output limit of ")
		if !dropped {
			if got != text {
				t.Fatalf("log = %q, want %q", got, text)
			}
			if len(text) > int(limit)+3 {
				t.Fatalf("%d bytes kept with a limit of %d", len(text), limit)
			}
			return
		}
		if strings.Count(note, "[output limit of ") != 0 {
			t.Fatalf("more than one note: %q", note)
		}
		if !strings.HasPrefix(text, got) {
			got = strings.TrimSuffix(got, "\n")
		}
		if !strings.HasPrefix(text, got) || len(got) > int(limit)+3 || len(got) < int(limit)-3 {
			t.Fatalf("kept %q of %q with a limit of %d", got, text, limit)
		}
		if utf8.ValidString(text) && !utf8.ValidString(got) {
			t.Fatalf("a sequence was cut: %q", got)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	line := []byte(strings.Repeat("x", 79) + "\n")
	for _, followers := range []int{0, 1, 200} {
		b.Run(fmt.Sprintf("followers=%d", followers), func(b *testing.B) {
			s := console.New(b.TempDir())
			w := create(b, s, 1, 0)
			var wg sync.WaitGroup
			for range followers {
				r := open(b, s, 1)
				wg.Go(func() {
					if _, err := console.Follow(context.Background(), r, 0, func([]byte) error { return nil }); err != nil {
						b.Error(err)
					}
				})
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				w.Write(line)
			}
			w.Close()
			wg.Wait()
		})
	}
}

func BenchmarkFollow(b *testing.B) {
	s := console.New(b.TempDir())
	w := create(b, s, 1, 0)
	write(b, w, strings.Repeat(strings.Repeat("x", 79)+"\n", 100_000))
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	r := open(b, s, 1)
	b.ReportAllocs()
	b.SetBytes(r.Size())
	for b.Loop() {
		if _, err := console.Follow(b.Context(), r, 0, func([]byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func Example() {
	dir, err := os.MkdirTemp("", "console")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	logs := console.New(dir)

	w, err := logs.Create("app", 1, 1<<20)
	if err != nil {
		panic(err)
	}
	go func() { // the build
		fmt.Fprintln(w, "hello")
		w.Line("Finished: SUCCESS")
		w.Close()
	}()

	r, err := logs.Open("app", 1)
	if err != nil {
		panic(err)
	}
	defer r.Close()
	_, err = console.Follow(context.Background(), r, 0, func(p []byte) error {
		_, err := os.Stdout.Write(p)
		return err
	})
	if err != nil {
		panic(err)
	}
	// Output:
	// hello
	// Finished: SUCCESS
}
