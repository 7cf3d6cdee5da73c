package console

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// ErrNotFound means that there is no log of that build.
var ErrNotFound = errors.New("console: log not found")

// ErrLive is returned if the log is still being written.
var ErrLive = errors.New("console: log is being written")

// Store holds the logs below one directory. All methods are safe for concurrent use.
//
// The job argument of its methods is one path element that is safe on this file system; the caller makes it from the
// job's full name. Build numbers are positive.
type Store struct {
	dir string

	mu sync.Mutex // mu guards the following, and keeps a folder from vanishing while a log is made in it
	// live has the logs whose writer is open.
	live map[key]*progress
}

type key struct {
	job    string
	number int64
}

// New returns the store of the logs below dir. It does no I/O; folders are made when the first log needs them.
func New(dir string) *Store {
	return &Store{dir: dir, live: make(map[key]*progress)}
}

// Create starts the log of a build. The folder gets mode 0700 and the file 0600. A log that exists already is left
// alone and is an error (it is [fs.ErrExist]), because a build number is never used twice.
//
// limit is how many bytes of the build's output are kept, 0 means all; see [Writer.Write].
func (s *Store) Create(job string, number, limit int64) (*Writer, error) {
	path, err := s.path(job, number)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("console: create log: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // path checks its parts
	if err != nil {
		return nil, fmt.Errorf("console: create log: %w", err)
	}
	_ = os.Remove(path + timesSuffix) // that of a log that is gone, or was put aside
	k, p := key{job, number}, new(progress)
	s.live[k] = p
	return &Writer{file: f, progress: p, limit: limit, stamps: stamps{path: path + timesSuffix}, release: func() { s.release(k) }}, nil
}

// Resume continues the log of a build that continues after a restart of the server. It is live again, and new output starts
// on a new line. The limit counts only the new output. If there is no log, Resume creates one. A log that is
// being written returns [ErrLive].
func (s *Store) Resume(job string, number, limit int64) (*Writer, error) {
	path, err := s.path(job, number)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key{job, number}
	if s.live[k] != nil {
		return nil, fmt.Errorf("resume log %d of %q: %w", number, job, ErrLive)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("console: resume log: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600) //nolint:gosec // path checks its parts
	if err != nil {
		return nil, fmt.Errorf("console: resume log: %w", err)
	}
	size, midLine, err := endOf(f)
	if err != nil {
		return nil, fmt.Errorf("console: resume log: %w", errors.Join(err, f.Close()))
	}
	p := &progress{size: size}
	s.live[k] = p
	return &Writer{file: f, progress: p, limit: limit, midLine: midLine, stamps: stamps{path: path + timesSuffix}, release: func() { s.release(k) }}, nil
}

func (s *Store) release(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, k)
}

// Append appends whole lines to a log that is not live, for a build that was lost in a crash.
// They start on a new line, whatever the build wrote last. If the crash came before the log was made, it
// is created now. A live log is [ErrLive]. Readers that were opened before do not see the new lines.
func (s *Store) Append(job string, number int64, lines ...string) error {
	path, err := s.path(job, number)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live[key{job, number}] != nil {
		return fmt.Errorf("append to log %d of %q: %w", number, job, ErrLive)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("console: append: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600) //nolint:gosec // path checks its parts
	if err != nil {
		return fmt.Errorf("console: append: %w", err)
	}
	err = appendLines(f, lines)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("console: append: %w", err)
	}
	return nil
}

// endOf returns the size of a log, and whether it ends in the middle of a line.
func endOf(f *os.File) (size int64, midLine bool, err error) {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return 0, false, err
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, st.Size()-1)
	return st.Size(), last[0] != '\n', err
}

func appendLines(f *os.File, lines []string) error {
	size, midLine, err := endOf(f)
	if err != nil {
		return err
	}
	times := stamps{path: f.Name() + timesSuffix}
	times.add(size)
	times.close()
	var b strings.Builder
	if midLine {
		b.WriteByte('\n')
	}
	for _, l := range lines {
		b.WriteString(oneLine(l))
	}
	if _, err := f.WriteString(b.String()); err != nil {
		return err
	}
	return f.Sync()
}

// asideSuffix ends the name of a log that was put aside.
const asideSuffix = ".old"

// PutAside renames a log that is not live, so that another one with its number can be created, and returns the new name.
// A log that was put aside earlier is replaced. It is removed with logs of its number, and cannot be opened.
func (s *Store) PutAside(job string, number int64) (name string, err error) {
	path, err := s.path(job, number)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live[key{job, number}] != nil {
		return "", fmt.Errorf("put aside log %d of %q: %w", number, job, ErrLive)
	}
	if err := os.Rename(path, path+asideSuffix); err != nil {
		return "", fmt.Errorf("console: put aside: %w", err)
	}
	return path + asideSuffix, nil
}

// Open returns a reader of the log, live or complete, or [ErrNotFound]. The caller closes it.
func (s *Store) Open(job string, number int64) (*Reader, error) {
	path, err := s.path(job, number)
	if err != nil {
		return nil, err
	}
	// The file first: if it is not live afterwards, its writer is gone, because Create makes the file and the entry
	// under one lock.
	f, err := os.Open(path) //nolint:gosec // path checks its parts
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open log %d of %q: %w", number, job, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("console: open log: %w", err)
	}
	s.mu.Lock()
	p := s.live[key{job, number}]
	s.mu.Unlock()
	if p == nil {
		st, err := f.Stat()
		if err != nil {
			return nil, fmt.Errorf("console: open log: %w", errors.Join(err, f.Close()))
		}
		p = &progress{size: st.Size(), complete: true}
	}
	return &Reader{local{f, p, &stampFile{path: path + timesSuffix}}}, nil
}

// Remove deletes the logs of these builds, and the job's folder if it is empty then. A log that is not there is no
// error. Who reads or writes a removed log at that moment goes on undisturbed, except on Windows, where the removal is
// refused.
func (s *Store) Remove(job string, numbers ...int64) error {
	var errs []error
	for _, n := range numbers {
		path, err := s.path(job, n)
		if err != nil {
			return err
		}
		for _, path := range []string{path, path + asideSuffix, path + timesSuffix} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	if err := s.removeFolder(job); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("console: remove logs: %w", err)
	}
	return nil
}

// RemoveBelow deletes the logs of all builds of the job with a lower number, as [Store.Remove] does. It is for logs
// whose build record is gone, so those that are being written are left, and so are files that are not logs.
func (s *Store) RemoveBelow(job string, number int64) error {
	if err := checkElement(job); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, job))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("console: remove logs: %w", err)
	}
	var orphans []int64
	s.mu.Lock()
	for _, e := range entries {
		n, ok := parseLogName(e.Name())
		if ok && n < number && s.live[key{job, n}] == nil {
			orphans = append(orphans, n)
		}
	}
	s.mu.Unlock()
	return s.Remove(job, orphans...)
}

// removeFolder deletes the job's folder if it is empty.
func (s *Store) removeFolder(job string) error {
	if err := checkElement(job); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := filepath.Join(s.dir, job)
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return nil
	}
	return os.Remove(dir)
}

func (s *Store) path(job string, number int64) (string, error) {
	if err := checkElement(job); err != nil {
		return "", err
	}
	if number <= 0 {
		return "", fmt.Errorf("console: bad build number %d", number)
	}
	return filepath.Join(s.dir, job, logName(number)), nil
}

// checkElement refuses what would lead out of the directory. The caller's element is safe already; this is the belt.
func checkElement(job string) error {
	if job == "." || filepath.Base(job) != job || !filepath.IsLocal(job) {
		return fmt.Errorf("console: %q is not a path element", job)
	}
	return nil
}

func logName(number int64) string { return strconv.FormatInt(number, 10) + ".log" }

func parseLogName(name string) (int64, bool) {
	name = strings.TrimSuffix(strings.TrimSuffix(name, asideSuffix), timesSuffix)
	digits, ok := strings.CutSuffix(name, ".log")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil && n > 0 && logName(n) == name
}
