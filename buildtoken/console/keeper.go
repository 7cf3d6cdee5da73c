package console

import (
	"context"
	"errors"
	"fmt"
)

// Keeper keeps logs where every server can read them. job is the full name. An
// unknown build is [queue.ErrNotFound]; one that cannot write any more is
// [queue.ErrNotRunning].
type Keeper interface {
	// AppendLog appends p to the log of a running build if the log ends at offset, and returns where it ends then. The
	// last piece, which can be empty, completes the log and makes it durable.
	AppendLog(ctx context.Context, job string, number, offset int64, p []byte, last bool) (size int64, err error)
	// LogState returns the state of a log. The log of a build that was just started is empty.
	LogState(ctx context.Context, job string, number int64) (State, error)
	// ReadLog reads at most len(p) bytes from offset on, as far as there are any. It returns [queue.ErrNotFound] if
	// another build than the given one has the number; 0 means any.
	ReadLog(ctx context.Context, job string, number, build, offset int64, p []byte) (int, error)
	// LogTimes returns when the bytes between two offsets were appended; see [Reader.Times].
	LogTimes(ctx context.Context, job string, number, from, to int64) ([]Stamp, error)
	// DropLogs drops the logs of builds with lower numbers, which are not on record any more.
	DropLogs(ctx context.Context, job string, below int64) error
}

// State is the state of a log.
type State struct {
	// Build is the identity of its build. If the queue was set back to an earlier time, another build can have the number.
	Build int64
	// Size is the length of the log in bytes.
	Size     int64
	Complete bool
}

// Ship copies a log of this server to the keeper while it grows, and returns when the keeper has all of it. It starts
// where the keeper's copy ends, so after an error it can be called again, even if it is unknown whether the last piece
// was stored. With complete, it also completes the copy. ctx is passed to the keeper.
func Ship(ctx context.Context, to Keeper, r *Reader, job string, number int64, complete bool) error {
	there, err := to.LogState(ctx, job, number)
	if err != nil || there.Complete {
		return err
	}
	for offset := there.Size; ; {
		at := offset
		offset, err = Follow(ctx, r, offset, func(p []byte) error {
			err := shipPiece(ctx, to, job, number, at, p, false)
			at += int64(len(p))
			return err
		})
		if err == nil && offset > r.Size() && complete {
			return errShort
		}
		if err == nil && complete {
			err = shipPiece(ctx, to, job, number, offset, nil, true)
		}
		var elsewhere *elsewhereError
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &elsewhere):
			return err
		}
		offset = elsewhere.size
	}
}

// errShort is returned if another program has truncated the file of a log.
var errShort = errors.New("console: the file is shorter than what was read from it before")

// elsewhereError is returned if the keeper's copy ends at another offset than
// expected: a piece was stored in spite of an error, or is gone again.
type elsewhereError struct{ size int64 }

func (e *elsewhereError) Error() string { return fmt.Sprintf("the log ends at %d", e.size) }

func shipPiece(ctx context.Context, to Keeper, job string, number, offset int64, p []byte, last bool) error {
	size, err := to.AppendLog(ctx, job, number, offset, p, last)
	if err == nil && size != offset+int64(len(p)) {
		err = &elsewhereError{size}
	}
	return err
}
