package console

import (
	"context"
	"errors"
	"fmt"
)

// Keeper keeps logs where every server can read them. job is the full name. A
// build that is not there is queue.ErrNotFound, one that may not write any more
// queue.ErrNotRunning.
type Keeper interface {
	// AppendLog adds p to the log of a running build if that ends at offset, and says where it ends then. With the last
	// piece, which may be empty, it is complete, and then it is durable.
	AppendLog(ctx context.Context, job string, number, offset int64, p []byte, last bool) (size int64, err error)
	// LogState says how long a log is and whether that is all. Of a build that has just been started it is empty.
	LogState(ctx context.Context, job string, number int64) (size int64, complete bool, err error)
	// ReadLog reads what there is from offset on, at most len(p) bytes.
	ReadLog(ctx context.Context, job string, number, offset int64, p []byte) (int, error)
	// DropLogs drops the logs of builds with lower numbers, which are not on record any more.
	DropLogs(ctx context.Context, job string, below int64) error
}

// Ship copies a log of this server to the keeper, as it grows, and returns when all of it is there. It goes on where
// the keeper's copy ends, so after an error it may be called again, also when it is not known what became of the last
// piece. With complete, that is all: the copy is complete then. ctx is also that of the calls to the keeper.
func Ship(ctx context.Context, to Keeper, r *Reader, job string, number int64, complete bool) error {
	offset, done, err := to.LogState(ctx, job, number)
	if err != nil || done {
		return err
	}
	for {
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

// errShort says that the file of a log was cut short behind our back.
var errShort = errors.New("console: the file is shorter than what was read from it before")

// elsewhereError says that the keeper's copy does not end where it was thought
// to: a piece got there although it was not known, or is gone again.
type elsewhereError struct{ size int64 }

func (e *elsewhereError) Error() string { return fmt.Sprintf("the log ends at %d", e.size) }

func shipPiece(ctx context.Context, to Keeper, job string, number, offset int64, p []byte, last bool) error {
	size, err := to.AppendLog(ctx, job, number, offset, p, last)
	if err == nil && size != offset+int64(len(p)) {
		err = &elsewhereError{size}
	}
	return err
}
