package execrunner

import (
	"errors"
	"io"
	"os"
	"time"
)

// maxPipe is more than a pipe holds without special rights.
const maxPipe = 1 << 20

// output takes what the build writes to the log. One goroutine at a time may use it, finish apart.
type output struct {
	log io.Writer
	// failed means that the log took no more; the rest is read and dropped, so that the build can go on.
	failed bool
	// midLine means that the log does not end with the end of a line.
	midLine bool
}

// copy returns at the end of the output, or after finish with what was in the pipe then.
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

// finish makes copy return as soon as the pipe is empty, even if somebody still holds its other end. Where pipes have no
// deadlines (Windows), the processes are ended all together, so that the end of the pipe comes by itself.
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

// line adds a line of our own.
func (o *output) line(text string) {
	if o.midLine {
		text = "\n" + text
	}
	o.write([]byte(text + "\n"))
}
