package execrunner

import (
	"errors"
	"io"
	"os"
	"time"
)

// maxPipe is more bytes than a pipe can hold, unless a process with special rights enlarged it.
const maxPipe = 1 << 20

// output copies the output of a build to its log. Except for finish, it is not safe for concurrent use.
type output struct {
	log io.Writer
	// failed is true once a write to the log has failed. The rest is read and dropped, so that the build can go on.
	failed bool
	// midLine is true if the log does not end with a line end.
	midLine bool
}

// copy copies until the end of the output. After finish, it copies what is in the pipe and returns.
func (o *output) copy(pipe *os.File) {
	buf := make([]byte, 32<<10)
	for {
		n, err := pipe.Read(buf)
		o.write(buf[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return
		}
	}
	for rest := maxPipe; rest > 0; {
		n, err := readNow(pipe, buf)
		o.write(buf[:n])
		if n == 0 || err != nil {
			return
		}
		rest -= n
	}
}

// finish makes copy return as soon as the pipe is empty, even if a process still holds its other end. On Windows, where
// pipes have no deadlines, all processes have ended by then, and with them the output.
func (o *output) finish(pipe *os.File) { _ = pipe.SetReadDeadline(time.Unix(1, 0)) }

func (o *output) write(p []byte) {
	if len(p) == 0 {
		return
	}
	o.midLine = p[len(p)-1] != '\n'
	if o.failed {
		return
	}
	if n, err := o.log.Write(p); err != nil || n < len(p) {
		o.failed = true
	}
}

// line writes a line of the runner itself.
func (o *output) line(text string) {
	if o.midLine {
		text = "\n" + text
	}
	o.write([]byte(text + "\n"))
}
