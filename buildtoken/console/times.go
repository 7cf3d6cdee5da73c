package console

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Stamp is when a part of a log was written: the bytes from Offset on, up to the next stamp.
type Stamp struct {
	Offset int64
	At     time.Time // to the millisecond
}

const (
	// timesSuffix ends the name of the file beside a log that has its stamps. Each is an offset and the milliseconds since
	// 1970, both as 8 bytes, the highest first.
	timesSuffix = ".times"
	stampSize   = 16
	// stampEvery is how far apart stamps are at least. A build that writes all the time has no more.
	stampEvery = 100 * time.Millisecond
	// mostStamps bounds the stamps that one call returns.
	mostStamps = 64 << 10
)

// stamps writes the stamps of one log. They serve people who look for slow steps, so a stamp that cannot be written is
// left out.
type stamps struct {
	path string
	file *os.File
	last time.Time
	off  bool
}

// add records that what is written at an offset is written now.
func (s *stamps) add(offset int64) {
	now := time.Now()
	if s.off || s.path == "" || !s.last.IsZero() && now.Sub(s.last) < stampEvery {
		return
	}
	if s.file == nil && !s.open(offset) {
		s.off = true
		return
	}
	record := binary.BigEndian.AppendUint64(make([]byte, 0, stampSize), uint64(offset)) //nolint:gosec // not negative
	record = binary.BigEndian.AppendUint64(record, uint64(now.UnixMilli()))
	if _, err := s.file.Write(record); err != nil {
		s.off = true // half a record would move those behind it
		return
	}
	s.last = now
}

// open opens the file behind its last whole record of a part before an offset: a power failure can have cost the end of
// the log and of the file.
func (s *stamps) open(offset int64) bool {
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return false
	}
	st, err := f.Stat()
	if err == nil {
		n := st.Size() / stampSize
		var record [stampSize]byte
		for ; err == nil && n > 0; n-- {
			if _, err = f.ReadAt(record[:], (n-1)*stampSize); err == nil && stampOf(record[:]).Offset < offset {
				break
			}
		}
		err = errors.Join(err, f.Truncate(n*stampSize))
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return false
	}
	s.file = f
	return true
}

func (s *stamps) close() {
	if s.file != nil {
		_ = s.file.Close() // times are no part of the log
	}
}

// Times returns when the bytes of the log between two offsets were written, in order: the first stamp is that of from,
// if it is known. Logs that an earlier version wrote, or that were restored from a backup, have none.
func (r *Reader) Times(ctx context.Context, from, to int64) ([]Stamp, error) {
	all, err := r.from.times(ctx, from, to)
	if err != nil {
		return nil, fmt.Errorf("console: times: %w", err)
	}
	return all, nil
}

// stampFile reads the stamps of one log. It opens the file when they are needed first.
type stampFile struct {
	path string

	mu   sync.Mutex // mu guards the following
	file *os.File
}

// times implements [source].
func (s *stampFile) times(_ context.Context, from, to int64) ([]Stamp, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		f, err := os.Open(s.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		s.file = f
	}
	st, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	return readStamps(s.file, st.Size()/stampSize, from, to)
}

// close closes the file. It must not run at the same time as times.
func (s *stampFile) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// readStamps finds the stamps of a part among n of them, which are in the order of their offsets.
func readStamps(f io.ReaderAt, n, from, to int64) ([]Stamp, error) {
	var record [stampSize]byte
	low, high := int64(0), n // the first behind from
	if n > 64 {              // followers read the end
		if _, err := f.ReadAt(record[:], (n-64)*stampSize); err != nil {
			return nil, err
		}
		if stampOf(record[:]).Offset <= from {
			low = n - 63
		}
	}
	for low < high {
		middle := (low + high) / 2
		if _, err := f.ReadAt(record[:], middle*stampSize); err != nil {
			return nil, err
		}
		if stampOf(record[:]).Offset <= from {
			low = middle + 1
		} else {
			high = middle
		}
	}
	first := max(low-1, 0)
	in := make([]byte, min(n-first, to-from+1, mostStamps)*stampSize)
	if _, err := f.ReadAt(in, first*stampSize); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var all []Stamp
	for ; len(in) >= stampSize; in = in[stampSize:] {
		s := stampOf(in)
		if s.Offset >= to {
			break
		}
		all = append(all, s)
	}
	return all, nil
}

func stampOf(record []byte) Stamp {
	return Stamp{
		Offset: int64(binary.BigEndian.Uint64(record)),                           //nolint:gosec // as written
		At:     time.UnixMilli(int64(binary.BigEndian.Uint64(record[8:]))).UTC(), //nolint:gosec // as written
	}
}
