package pages

import (
	"html/template"
	"slices"
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken/console"
)

// keepPieces is how many pieces of live logs are kept for other readers, each of some 100 KiB.
const keepPieces = 64

// livePiece is a piece of a log as HTML, with the state in which the next one begins. It is
// never modified.
type livePiece struct {
	html   template.HTML
	at     rowStart
	stamps []console.Stamp
	rest   []byte
}

// pieceKey is which piece it is: the row it begins with, and the offset up to which it goes.
type pieceKey struct {
	log logKey
	at  rowStart
	to  int64
}

// pieces are those that were rendered last. All methods are safe for concurrent use; the
// zero value is ready.
type pieces struct {
	// mu guards the following.
	mu  sync.Mutex
	all map[pieceKey]func() (livePiece, error)
	// recent are the keys, the newest at the end.
	recent []pieceKey
}

// get returns a piece, and renders it if no reader has done so. Readers that need the same
// one wait for the first.
func (p *pieces) get(k pieceKey, render func() (livePiece, error)) (livePiece, error) {
	p.mu.Lock()
	once, ok := p.all[k]
	if !ok {
		if p.all == nil {
			p.all = map[pieceKey]func() (livePiece, error){}
		}
		once = sync.OnceValues(render)
		p.all[k] = once
		if p.recent = append(p.recent, k); len(p.recent) > keepPieces {
			delete(p.all, p.recent[0])
			p.recent = p.recent[1:]
		}
	}
	p.mu.Unlock()
	piece, err := once()
	if err != nil && !ok { // perhaps only this reader's time is over
		p.mu.Lock()
		delete(p.all, k)
		p.recent = slices.DeleteFunc(p.recent, func(other pieceKey) bool { return other == k })
		p.mu.Unlock()
	}
	return piece, err
}
