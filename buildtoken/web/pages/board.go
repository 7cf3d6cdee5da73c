package pages

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
)

// errEnded is returned when a stream has to end.
var errEnded = errors.New("pages: stream has ended")

// plan is how a page is made.
type plan struct {
	// key is the same for all readers who see the same; zero if the page is for one reader.
	key pageKey
	// make makes the page as it is at the visit's instant.
	make func() (*page, error)
}

// pageKey has everything that a shared page depends on, besides the state of the queue.
type pageKey struct {
	ctl  *buildtoken.Controller
	site *definition.Site
	// root is the absolute URL of the site, and path the page below it, with its query.
	root, path string
	// jobs is the digest of the names of all jobs that the reader may see there.
	jobs [sha256.Size]byte
}

// digestOf returns a digest of names.
func digestOf(names []string) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, name := range names {
		_, _ = io.WriteString(h, name+"\x00") // a name has no control characters
	}
	h.Sum(sum[:0])
	return sum
}

// shown is a page whose live regions have been rendered. Streams of several readers may share
// it; it is never modified.
type shown struct {
	*page
	parts []*part
}

// current reports whether the page is still as it would be made now.
func (s *shown) current(now time.Time) bool {
	select {
	case <-s.changed:
		return false
	default:
		return s.next.IsZero() || now.Before(s.next)
	}
}

// part is a live region of a page.
type part struct {
	rendered
	content *content
	rows    []row

	// mu guards the following: the update that was asked for last, and what it starts from.
	mu     sync.Mutex
	from   *content
	update *update
}

// updateFrom is [difference]. Streams that follow the same page share the result.
func (p *part) updateFrom(before *content) update {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.update == nil || p.from != before {
		u := difference(before, p)
		p.from, p.update = before, &u
	}
	return *p.update
}

func newPart(r rendered) *part {
	p := &part{rendered: r}
	p.content, p.rows = contentOf(r)
	return p
}

// part renders a live region.
func (k *kit) part(r region) (*part, error) {
	done, err := k.region(r)
	if err != nil {
		return nil, err
	}
	return newPart(done), nil
}

// board is a page that streams follow.
type board struct {
	pace *pace
	// readers counts the streams; [boards.mu] guards it.
	readers int

	// mu guards the following.
	mu sync.Mutex
	// last is the page as it was rendered last; nil if it was not.
	last *shown
	// making is the rendering that a stream is waiting for or doing; nil if there is none.
	making *making
}

// making is a rendering for all streams of a board. The result is there once done is closed.
type making struct {
	done chan struct{}
	page *shown
	err  error
}

// boards are those of all pages that several readers share. The zero value is ready to use.
type boards struct {
	// mu guards the following.
	mu  sync.Mutex
	all map[pageKey]*board
}

// enter returns the board of a page. The caller must call leave when it follows the page no longer.
func (k *kit) enter(key pageKey) *board {
	if key == (pageKey{}) {
		return &board{pace: k.personal}
	}
	k.boards.mu.Lock()
	defer k.boards.mu.Unlock()
	if k.boards.all == nil {
		k.boards.all = map[pageKey]*board{}
	}
	b := k.boards.all[key]
	if b == nil {
		b = &board{pace: k.shared}
		k.boards.all[key] = b
	}
	b.readers++
	return b
}

// leave forgets the board of a page that no stream follows any more.
func (k *kit) leave(key pageKey) {
	if key == (pageKey{}) {
		return
	}
	k.boards.mu.Lock()
	defer k.boards.mu.Unlock()
	b := k.boards.all[key]
	if b.readers--; b.readers == 0 {
		delete(k.boards.all, key)
	}
}

// get returns the page as it is now. If it has changed, the first stream that asks renders it,
// and the others wait for that. A stream's first page is rendered at once: its reader waits.
// The error is errEnded if the stream has to end.
func (b *board) get(ctx context.Context, v *visit, p plan, first bool) (*shown, error) {
	for {
		b.mu.Lock()
		if s := b.last; s != nil && s.current(time.Now()) {
			b.mu.Unlock()
			return s, nil
		}
		m := b.making
		if m == nil {
			m = &making{done: make(chan struct{})}
			b.making = m
			b.mu.Unlock()
			b.render(ctx, v, p, first, m)
			return m.page, m.err
		}
		b.mu.Unlock()
		select {
		case <-m.done:
			if m.err == nil {
				return m.page, nil
			}
			// Perhaps only that reader's time is over.
		case <-ctx.Done():
			return nil, errEnded
		case <-v.Done:
			return nil, errEnded
		}
	}
}

// render makes the page for all streams of the board.
func (b *board) render(ctx context.Context, v *visit, p plan, first bool, m *making) {
	m.err = errEnded
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.making = nil; m.err == nil {
			b.last = m.page
		}
		close(m.done)
	}()
	if !first {
		if !b.pace.await(ctx, v.Done) {
			return
		}
		defer b.pace.leave()
	}
	v.Now = time.Now()
	m.page, m.err = v.render(p)
	b.pace.spent(time.Since(v.Now))
}

// render makes a page with its live regions.
func (v *visit) render(p plan) (*shown, error) {
	changed := v.ctl.Watch()
	pg, err := p.make()
	if err != nil {
		return nil, err
	}
	if pg.changed == nil {
		pg.changed = changed
	}
	s := &shown{page: pg}
	for _, r := range pg.Regions {
		if r.Static {
			continue
		}
		one, err := v.kit.part(r)
		if err != nil {
			return nil, err
		}
		s.parts = append(s.parts, one)
	}
	return s, nil
}
