package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Contents provides the logs and files of a queue for an import. The functions return
// [fs.ErrNotExist] if there is none; any other error ends the import.
type Contents struct {
	// Fingerprint identifies the key ([DB.UseKey]); nil leaves it to the first server.
	Fingerprint []byte
	// Log opens the console log of a build, File the content of a file parameter.
	// A nil function imports none.
	Log  func(job string, number int64) (io.ReadCloser, error)
	File func(ref string) (io.ReadCloser, error)
}

// piece, upload and log are rows of the tables pieces, uploads and logs. Their bytes
// are valid until the next row is read.
type (
	piece struct {
		job         string
		number, off int64
		body        []byte
	}
	upload struct {
		ref  string
		part int
		body []byte
	}
	log struct {
		job          string
		number, size int64
		complete     bool
	}
)

// contents copies the logs of the imported builds and the files of the imported items.
func (i *importer) contents(ctx context.Context, from Contents) error {
	err := cp(ctx, i, "uploads", []string{"ref", "part", "body"}, i.uploads(from.File), func(u upload) ([]any, error) {
		return []any{u.ref, u.part, u.body}, nil
	})
	if err != nil {
		return err
	}
	// The size of a log is known when its pieces were read.
	err = cp(ctx, i, "pieces", []string{"job", "number", "off", "body"}, i.pieces(from.Log), func(p piece) ([]any, error) {
		return []any{p.job, p.number, p.off, p.body}, nil
	})
	if err != nil {
		return err
	}
	err = cp(ctx, i, "logs", []string{"job", "number", "size", "complete"}, whole(slices.Values(i.logs)), func(l log) ([]any, error) {
		i.sum.Logs++
		i.sum.LogBytes += l.size
		return []any{l.job, l.number, l.size, l.complete}, nil
	})
	if err != nil || from.Fingerprint == nil {
		return err
	}
	_, err = i.tx.Exec(ctx, i.names.in(`insert into queue.queue_key (fingerprint) values ($1)
		on conflict (single) do update set fingerprint = excluded.fingerprint`), from.Fingerprint)
	return err
}

func (i *importer) uploads(open func(string) (io.ReadCloser, error)) iter.Seq2[upload, error] {
	return func(yield func(upload, error) bool) {
		for _, ref := range i.refs {
			if open == nil {
				return
			}
			part := 0
			found, err := inParts(func() (io.ReadCloser, error) { return open(ref) }, filePart, func(p []byte) bool {
				part++
				return yield(upload{ref, part - 1, p}, nil)
			})
			if err == nil && found && part == 0 && !yield(upload{ref, 0, []byte{}}, nil) { // an empty file is one, too
				return
			}
			if err != nil {
				if !errors.Is(err, errEnough) {
					yield(upload{}, fmt.Errorf("file of a parameter: %w", err))
				}
				return
			}
			if found {
				i.sum.Files++
			}
		}
	}
}

// pieces also records which builds have a log, and the sizes of the logs.
func (i *importer) pieces(open func(string, int64) (io.ReadCloser, error)) iter.Seq2[piece, error] {
	return func(yield func(piece, error) bool) {
		all := i.logs
		i.logs = nil
		for _, l := range all {
			if open == nil {
				return
			}
			found, err := inParts(func() (io.ReadCloser, error) { return open(l.job, l.number) }, fullPiece, func(p []byte) bool {
				l.size += int64(len(p))
				return yield(piece{l.job, l.number, l.size - int64(len(p)), p}, nil)
			})
			if err != nil {
				if !errors.Is(err, errEnough) {
					yield(piece{}, fmt.Errorf("log of %s #%d: %w", l.job, l.number, err))
				}
				return
			}
			if found {
				i.logs = append(i.logs, l)
			}
		}
	}
}

// errEnough is returned when the consumer of the parts stops early.
var errEnough = errors.New("pgqueue: enough")

// inParts passes the content to take in parts of size bytes, the last one shorter,
// until take returns false. The bytes are overwritten by the next part. found reports
// whether there is any content.
func inParts(open func() (io.ReadCloser, error), size int, take func([]byte) bool) (found bool, err error) {
	r, err := open()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = r.Close() }() // it was only read
	buf := make([]byte, size)
	for {
		n, err := io.ReadFull(r, buf)
		switch {
		case n > 0 && !take(buf[:n]):
			return true, errEnough
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return true, nil
		case err != nil:
			return true, err
		}
	}
}

// remember notes the files of an item, which are imported with the contents.
func (i *importer) remember(it queue.Item) {
	for _, v := range it.Values {
		if v.Ref != "" {
			i.refs = append(i.refs, v.Ref)
		}
	}
}
