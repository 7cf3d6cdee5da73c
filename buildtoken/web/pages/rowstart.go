package pages

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// maxRow is how much of a line is shown as one row, in bytes. A longer line has several, so
// that the cost of a line that never ends is bounded. Where they begin follows from the
// beginning of the line alone.
const maxRow = 128 << 10

// rowStart is the offset at which a row of a log begins, with the state that the text before
// it leaves, so that the log can be rendered from there on. It is comparable.
type rowStart struct {
	// at is the offset in bytes, line the number of the line, from 1.
	at, line int64
	// within is set if the row continues a line.
	within bool
	// style is that of the text.
	style style
}

// start is the row start at the beginning of a log.
func start() rowStart { return rowStart{line: 1} }

// String returns the row start as text for [parseRowStart].
func (p rowStart) String() string {
	within := ""
	if p.within {
		within = "w"
	}
	return strconv.FormatInt(p.at, 10) + "." + strconv.FormatInt(p.line, 10) + within + "." + p.style.sequence()
}

// parseRowStart reads a row start that the client sends back. A wrong one affects only what
// this client is shown.
func parseRowStart(text string) (rowStart, bool) {
	fields := strings.Split(text, ".")
	if len(fields) != 3 || len(fields[2]) > 100 {
		return rowStart{}, false
	}
	var p rowStart
	var err1, err2 error
	p.at, err1 = strconv.ParseInt(fields[0], 10, 64)
	line, within := strings.CutSuffix(fields[1], "w")
	p.line, err2 = strconv.ParseInt(line, 10, 64)
	p.within = within
	if fields[2] != "" {
		p.style = style{}.apply(fields[2])
	}
	return p, err1 == nil && err2 == nil && p.at >= 0 && p.line >= 1 && p.line < math.MaxInt32
}

// cutRow returns the first row of a text that begins with one, and whether its end is there.
func cutRow(text []byte) (row []byte, ended bool) {
	if nl := bytes.IndexByte(text[:min(len(text), maxRow)], '\n'); nl >= 0 {
		return text[:nl+1], true
	}
	if len(text) < maxRow {
		return text, false
	}
	return text[:web.WholeRunes(text[:maxRow])], true
}

// after returns the start of the row that follows a whole row at p.
func (p rowStart) after(row []byte) rowStart {
	p.at += int64(len(row))
	if p.within = row[len(row)-1] != '\n'; !p.within {
		p.line++
	}
	if bytes.IndexByte(row, 0x1b) >= 0 {
		p.style = styleAfter(row, p.style)
	}
	return p
}

// logKey identifies a log by its build. Builds can have the same number if the queue was
// restored from a backup; started distinguishes them.
type logKey struct {
	full            string
	number, started int64
}

const (
	// keepLogs is how many logs a [rowIndex] covers, startsApart how far apart the row starts
	// are that it keeps of each, in bytes.
	keepLogs    = 256
	startsApart = 256 << 10
)

// rowIndex keeps row starts of logs, so that only the first reader of a long log waits until
// its lines are counted. What has been written to a log does not change, so neither do its
// row starts. All methods are safe for concurrent use; the zero value is ready.
type rowIndex struct {
	// mu guards the following.
	mu   sync.Mutex
	logs map[logKey]*rowStarts
	// recent are the keys, the one used last at the end.
	recent []logKey
}

// rowStarts are some row starts of one log.
type rowStarts struct {
	// mu guards the following. It is held while lines are counted: other readers of the
	// same log need the same.
	mu sync.Mutex
	// all are in order, the start of the log first.
	all []rowStart
}

func (x *rowIndex) of(k logKey) *rowStarts {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.logs == nil {
		x.logs = map[logKey]*rowStarts{}
	}
	x.recent = slices.DeleteFunc(x.recent, func(other logKey) bool { return other == k })
	x.recent = append(x.recent, k)
	if len(x.recent) > keepLogs {
		delete(x.logs, x.recent[0])
		x.recent = x.recent[1:]
	}
	if x.logs[k] == nil {
		x.logs[k] = &rowStarts{all: []rowStart{start()}}
	}
	return x.logs[k]
}

// find returns where the row begins that holds an offset. Behind the end of the log, it is
// the last row, or the empty one behind it.
func (x *rowIndex) find(ctx context.Context, log io.ReaderAt, k logKey, offset int64) (rowStart, error) {
	known := x.of(k)
	known.mu.Lock()
	defer known.mu.Unlock()
	i, exact := slices.BinarySearchFunc(known.all, offset, func(p rowStart, at int64) int { return cmp.Compare(p.at, at) })
	if !exact {
		i--
	}
	p := known.all[max(i, 0)]
	in := bufio.NewReaderSize(io.NewSectionReader(log, p.at, math.MaxInt64), maxRow)
	for p.at < offset {
		row, err := readRow(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return rowStart{}, err
		}
		if err != nil || p.at+int64(len(row)) > offset { // a row without an end yet may still change
			break
		}
		p = p.after(row)
		if last := known.all[len(known.all)-1]; p.at >= last.at+startsApart {
			known.all = append(known.all, p)
			if err := ctx.Err(); err != nil {
				return rowStart{}, context.Cause(ctx)
			}
		}
	}
	return p, nil
}

// readRow reads a row. It returns io.EOF if the end of the row is not there. The reader's
// buffer has room for one.
func readRow(in *bufio.Reader) ([]byte, error) {
	n := in.Buffered()
	for {
		text, err := in.Peek(max(n, 1))
		if row, ended := cutRow(text); ended {
			_, discarded := in.Discard(len(row))
			return row, discarded
		}
		if err != nil {
			return nil, err
		}
		n = min(2*max(len(text), 2<<10), maxRow)
	}
}
