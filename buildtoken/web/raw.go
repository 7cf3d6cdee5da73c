package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"go.uber.org/zap"
)

// rawMemory is how much of a raw body is kept in memory, in bytes. Nearly all webhook
// deliveries are smaller.
const rawMemory = 64 << 10

// Raw is the body of a request as it was sent. The caller must close it.
type Raw struct {
	// Size is its length in bytes.
	Size int64

	held   hold
	memory []byte
	file   *os.File // if it is not all in memory
}

// ReadRaw reads the body of the request without parsing it, and writes what arrives to tee
// as well. It returns a [TooLargeError] for a body of more than limit bytes; if the client
// declares the length, before it reads anything. What exceeds 64 KiB is kept in a file of the data
// directory. The Raw is never nil, and the caller must close it also after an error.
func (q *Request) ReadRaw(limit int64, tee io.Writer) (*Raw, error) {
	raw := &Raw{held: q.holdOf(&q.inFlight().bodies)}
	size := q.R.ContentLength
	switch {
	case size > limit:
		return raw, &TooLargeError{Limit: limit}
	case q.R.Body == nil || q.R.Body == http.NoBody || size == 0:
		return raw, nil
	}
	err := raw.read(io.LimitReader(q.R.Body, limit+1), size, tee, q.spool)
	switch {
	case raw.Size > limit:
		return raw, &TooLargeError{Limit: limit}
	case err == nil:
		q.W.BodyRead()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return raw, ErrSlowBody
	case errors.Is(err, ErrSpool):
		q.Logger().Error("body of a request could not be stored", zap.Error(err))
	case !errors.Is(err, ErrBusy) && !errors.Is(err, ErrNoController):
		return raw, &BadRequestError{"malformed body"}
	}
	return raw, err
}

func (r *Raw) read(from io.Reader, size int64, tee io.Writer, spool func() (*os.File, error)) error {
	first := int64(rawMemory)
	if size > 0 {
		first = min(first, size)
	}
	if !r.held.takeUnproven(first * memoryWeight) {
		return ErrBusy
	}
	r.memory = make([]byte, first)
	n, err := io.ReadFull(from, r.memory)
	r.memory, r.Size = r.memory[:n], int64(n)
	_, _ = tee.Write(r.memory) // hashes do not fail
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && (size < 0 || r.Size == size):
		return nil
	case err != nil:
		return err //nolint:wrapcheck // ReadRaw distinguishes the errors
	case r.Size == size:
		return nil
	}
	if r.file, err = spool(); err != nil {
		return err
	}
	r.held.files = append(r.held.files, r.file)
	more, err := io.Copy(spooling{r.file}, io.TeeReader(holding{from, &r.held}, tee))
	r.Size += more
	return err //nolint:wrapcheck // as above
}

// rawBytesPerUnit is how many bytes of a raw body in a file cost as much of the shared budget
// as one byte of an uploaded file, so that there can be 4 GiB of them. A forge may send many
// large deliveries at once, and most forges do not repeat a refused delivery.
const rawBytesPerUnit = 4

// holding takes the bytes of a file from the shared budget.
type holding struct {
	from io.Reader
	held *hold
}

// Read implements [io.Reader].
func (h holding) Read(p []byte) (int, error) {
	n, err := h.from.Read(p)
	if !h.held.takeUnproven(int64(n) / rawBytesPerUnit) {
		return 0, ErrBusy
	}
	return n, err //nolint:wrapcheck // a reader passes on what the one below returns
}

// Bytes returns the whole body. If it is large, that copies it into memory, which the
// caller has to bound.
func (r *Raw) Bytes() ([]byte, error) {
	if r.file == nil {
		return r.memory, nil
	}
	all := make([]byte, r.Size)
	n := copy(all, r.memory)
	if _, err := r.file.ReadAt(all[n:], 0); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	return all, nil
}

// Close releases the memory and the file of the body.
func (r *Raw) Close() { r.held.release() }
