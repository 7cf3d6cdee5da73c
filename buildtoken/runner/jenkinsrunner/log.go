package jenkinsrunner

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"hash/fnv"
	"io"
	"net/http"
	"regexp"
	"strconv"
)

// position is how far a log was copied.
type position struct {
	// Offset is where Jenkins' log goes on, in its bytes.
	Offset int64 `json:"offset,omitempty"`
	// Length and Sum are how much was copied, and its FNV-1a sum.
	Length int64  `json:"length,omitempty"`
	Sum    uint64 `json:"sum,omitempty"`
	// Gaps means that it is not certain that every part was copied once.
	Gaps bool `json:"gaps,omitempty"`
}

// mark is a place in what was copied.
type mark struct {
	length int64
	sum    uint64
}

// follower copies a log that grows. Jenkins' progressive log has three traps: it ends lines with CRLF, whatever the log
// has; it contains notes that are not for people; and since 2.509 it leaves out incomplete lines and what follows 10,000
// lines, while it announces an offset behind them. So the follower computes where to go on.
type follower struct {
	position

	marks []mark // between parts, in their order
	tail  []byte // the end of the last part
	// doubt is how many bytes the computed offset may be too low, because the log has CRLF itself. The next part shows it.
	doubt int64
}

// maxTail bounds what is kept of the last part, in bytes.
const maxTail = 64 << 10

// copyLog copies what is new. grown reports whether there was something, more whether the log goes on.
func (l *relay) copyLog(ctx context.Context) (grown, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	resp, err := l.jenkins.do(ctx, l.jenkins.keep, http.MethodGet, l.buildPath()+"/logText/progressiveText?start="+strconv.FormatInt(l.log.Offset, 10))
	if err != nil {
		return false, true, err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode != http.StatusOK {
		return false, true, refusal(resp)
	}
	size, err := strconv.ParseInt(resp.Header.Get("X-Text-Size"), 10, 64)
	if err != nil {
		return false, true, errNotJenkins
	}
	more = resp.Header.Get("X-More-Data") == "true"
	if size < l.log.Offset { // the log has shrunk, and this is all of it
		l.log.Gaps = true
		return false, more, nil
	}
	before := l.log.Length
	err = l.log.part(resp.Body, size, more, l.out)
	return l.log.Length > before, more, err
}

// maxLines is how many lines of a running log Jenkins sends at once.
const maxLines = 10_000

// part copies one part of the log. Jenkins announces that it goes on at size.
func (f *follower) part(text io.Reader, size int64, more bool, out io.Writer) error {
	start, body := f.Offset, bufio.NewReaderSize(text, maxTail)
	if f.doubt > 0 {
		repeated, err := f.repeated(body)
		if err != nil {
			return err
		}
		start += repeated
		f.doubt = 0
	}
	f.tail = f.tail[:0]
	var n, crlf int64
	var err error
	for err == nil {
		var line []byte
		line, err = body.ReadSlice('\n')
		n += int64(len(line))
		if bytes.HasSuffix(line, []byte("\r\n")) {
			crlf++
			line[len(line)-2] = '\n'
			line = line[:len(line)-1]
		}
		f.copy(line, out)
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil
		}
	}
	if n > 0 {
		f.marks = append(f.marks, mark{f.Length, f.Sum})
	}
	f.Offset = start + n - crlf // each CRLF was an LF, unless the log has CRLF itself
	ahead := size - f.Offset
	switch {
	case !errors.Is(err, io.EOF):
		f.Gaps = true
		return err
	case !more || n > 0 && !bytes.HasSuffix(f.tail, []byte("\n")): // nothing was left out
		f.Offset = size
		return nil
	}
	f.Gaps = f.Gaps || ahead != 0
	if crlf < maxLines {
		f.doubt = max(0, min(ahead, crlf))
	}
	return nil
}

// repeated skips the beginning of a part if it is the end of the part before, because the log has CRLF itself. It returns how
// many bytes of the log that were, doubt or none. An incomplete line that was left out of the part before has no line end
// among so many bytes.
func (f *follower) repeated(body *bufio.Reader) (int64, error) {
	// With CRLF, the same bytes are at most twice as long.
	text, err := body.Peek(int(min(2*f.doubt, maxTail)))
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	var lf []byte
	for i, c := range text {
		if c == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			continue
		}
		lf = append(lf, c)
		if c == '\n' && int64(len(lf)) <= f.doubt && f.doubt <= int64(i+1) && bytes.HasSuffix(f.tail, lf) {
			_, err := body.Discard(i + 1)
			return f.doubt, err
		}
	}
	return 0, nil
}

// notes are annotations for Jenkins' own pages.
var notes = regexp.MustCompile("\x1b\\[8mha:[^\x1b]*\x1b\\[0m")

// copy writes a piece of the log without notes.
func (f *follower) copy(text []byte, out io.Writer) {
	f.tail = append(f.tail, text...)
	if over := len(f.tail) - maxTail; over > 0 {
		f.tail = f.tail[over:]
	}
	if bytes.Contains(text, []byte("\x1b[8mha:")) {
		text = notes.ReplaceAll(text, nil)
	}
	_, _ = out.Write(text)
	f.Length += int64(len(text))
	f.Sum = sum(f.Sum, text)
}

// sum continues an FNV-1a sum.
func sum(before uint64, text []byte) uint64 {
	if before == 0 {
		before = fnv.New64a().Sum64()
	}
	for _, c := range text {
		before = (before ^ uint64(c)) * 1099511628211
	}
	return before
}

// finishLog compares the log with the whole text, if a part of it may be missing, and writes the rest from where they differ.
func (l *relay) finishLog(ctx context.Context) {
	if !l.log.Gaps {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	if err := l.completeLog(ctx); err != nil {
		l.comment("the log may have gaps: %v", err)
	}
}

func (l *relay) completeLog(ctx context.Context) error {
	agreed, err := l.agreed(ctx)
	if err != nil || agreed < 0 {
		return err
	}
	body, err := l.wholeLog(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was only read
	if _, err := io.CopyN(io.Discard, body, agreed); err != nil {
		return err
	}
	if agreed < l.log.Length {
		l.comment("the log above has gaps; this is all of it from where they begin")
	}
	_, err = io.Copy(l.out, body)
	return err
}

// agreed returns the length up to which what was copied is what Jenkins has, -1 if there is nothing more.
func (l *relay) agreed(ctx context.Context) (int64, error) {
	body, err := l.wholeLog(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = body.Close() }() // it was only read
	var length, agreed int64
	var have uint64
	buf := make([]byte, 32<<10)
	for _, m := range l.log.marks {
		for length < m.length && err == nil {
			var n int
			n, err = body.Read(buf[:min(int64(len(buf)), m.length-length)])
			length, have = length+int64(n), sum(have, buf[:n])
		}
		if length != m.length || have != m.sum {
			return agreed, nil
		}
		agreed = length
	}
	if n, _ := io.ReadFull(body, buf[:1]); n == 0 {
		return -1, nil
	}
	return agreed, nil
}

func (l *relay) wholeLog(ctx context.Context) (io.ReadCloser, error) {
	resp, err := l.jenkins.do(ctx, l.jenkins.keep, http.MethodGet, l.buildPath()+"/consoleText")
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }() // it was only read
		return nil, refusal(resp)
	}
	return struct {
		io.Reader
		io.Closer
	}{&lfReader{bufio.NewReader(resp.Body)}, resp.Body}, nil
}

// lfReader reads CRLF as LF.
type lfReader struct{ from *bufio.Reader }

func (r *lfReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c, err := r.from.ReadByte()
		if err != nil {
			return n, err
		}
		if next, _ := r.from.Peek(1); c == '\r' && len(next) == 1 && next[0] == '\n' {
			continue
		}
		p[n] = c
		n++
	}
	return n, nil
}
