package jenkins

import (
	"context"
	"strconv"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// Limits of a tree parameter.
const (
	maxTree      = 16 << 10 // bytes
	maxTreeDepth = 32
)

// selection has the properties of an object, or of each element of an array, that a tree
// parameter selects. Nil selects nothing but the class.
type selection struct {
	named map[string]*selected
	any   *selected // "*"
}

// selected is one property.
type selected struct {
	of *selection
	// from and to cut an array, half open; to is -1 for its end.
	from, to int
}

// find returns the selection of a property. Its own name takes precedence over "*".
func (s *selection) find(name string) (one *selected, named bool) {
	if s == nil {
		return nil, false
	}
	if one, ok := s.named[name]; ok {
		return one, true
	}
	return s.any, false
}

// add adds a property. Of several with one name the first counts.
func (s *selection) add(name string, one *selected) {
	switch {
	case name != "*" && s.named[name] == nil:
		s.named[name] = one
	case name == "*" && s.any == nil:
		s.any = one
	}
}

// parseTree reads a tree parameter: properties separated by commas, each with its own
// selection in [], and a range of an array in {}. Ranges are {N}, {N,}, {,M} and {N,M}; they
// count from 0, and M is the first element that is left out.
func parseTree(text string) (*selection, error) {
	if len(text) > maxTree {
		return nil, &web.BadRequestError{Problem: "tree is too long"}
	}
	p := treeParser{rest: text}
	s, ok := p.list(0)
	if !ok || p.rest != "" {
		return nil, &web.BadRequestError{Problem: "malformed tree at byte " + strconv.Itoa(len(text)-len(p.rest)+1)}
	}
	return s, nil
}

type treeParser struct{ rest string }

func (p *treeParser) list(depth int) (*selection, bool) {
	if depth > maxTreeDepth {
		return nil, false
	}
	s := &selection{named: map[string]*selected{}}
	for {
		if !p.node(s, depth) {
			return nil, false
		}
		if !p.take(",") {
			return s, true
		}
	}
}

func (p *treeParser) node(into *selection, depth int) bool {
	end := strings.IndexAny(p.rest, ",[]{}")
	if end < 0 {
		end = len(p.rest)
	}
	if end == 0 {
		return false
	}
	name, one := p.rest[:end], &selected{to: -1}
	p.rest = p.rest[end:]
	if p.take("[") {
		var ok bool
		if one.of, ok = p.list(depth + 1); !ok || !p.take("]") {
			return false
		}
	}
	if p.take("{") && !p.bounds(one) {
		return false
	}
	into.add(name, one)
	return true
}

func (p *treeParser) take(prefix string) bool {
	rest, ok := strings.CutPrefix(p.rest, prefix)
	p.rest = rest
	return ok
}

// bounds reads a range behind its opening brace.
func (p *treeParser) bounds(one *selected) bool {
	text, rest, ok := strings.Cut(p.rest, "}")
	if !ok {
		return false
	}
	low, high, isPair := strings.Cut(text, ",")
	from, okFrom := bound(low, 0)
	to, okTo := bound(high, -1)
	switch {
	case !okFrom, !okTo, low == "" && high == "":
		return false
	case !isPair:
		to = from + 1
	}
	one.from, one.to, p.rest = from, to, rest
	return true
}

// bound reads one end of a range.
func bound(text string, absent int) (int, bool) {
	if text == "" {
		return absent, true
	}
	n, err := strconv.ParseUint(text, 10, 30)
	return int(n), err == nil
}

const (
	// maxKept is how much the answer to a tree parameter may keep in memory, in bytes. Five
	// properties of a hundred builds of 5000 jobs take less.
	maxKept = 256 << 20
	// memberSize is what a member of an object takes without its text, in bytes.
	memberSize = 64
)

// pruner bounds what is selected of a value. Once it has an error, nothing more is selected.
type pruner struct {
	ctx  context.Context //nolint:containedctx // it lives as long as one call of prune
	grow func(n int) error
	kept int // bytes, roughly
	err  error
}

// keep adds n bytes to what is kept, and reports whether to go on.
func (p *pruner) keep(n int) bool {
	if p.kept += n; p.err == nil {
		p.err = p.grow(n)
	}
	if p.err == nil && p.kept > maxKept {
		p.err = &web.BadRequestError{Problem: "the answer would be too large; select less with tree, or a part as in builds{0,10}"}
	}
	return p.err == nil
}

// prune returns the selected part of a value. The class of an object is always kept.
func (s *selection) prune(p *pruner, value any) any {
	switch v := value.(type) {
	case string:
		p.keep(len(v))
	case object:
		kept := object{}
		for _, m := range v {
			if m.key == "_class" {
				p.keep(memberSize)
				kept = append(kept, m)
				continue
			}
			one, named := s.find(m.key)
			if _, hidden := m.value.(onDemand); one == nil || (hidden && !named) {
				continue
			}
			if !p.keep(memberSize) {
				return nil
			}
			kept = append(kept, member{m.key, one.pruned(p, m.value)})
		}
		return kept
	case link:
		if p.err == nil {
			p.err = p.ctx.Err()
		}
		if v.full != nil && p.err == nil && s.beyond(v.brief) {
			return s.prune(p, v.full())
		}
		return s.prune(p, v.brief)
	case []any:
		kept := make([]any, len(v))
		for i := range v {
			kept[i] = s.prune(p, v[i])
		}
		return kept
	}
	return value
}

// beyond reports whether more is selected than an object has.
func (s *selection) beyond(o object) bool {
	if s == nil {
		return false
	}
	has := 0
	for _, m := range o {
		if _, named := s.find(m.key); named {
			has++
		}
	}
	return s.any != nil || has < len(s.named)
}

func (one *selected) pruned(p *pruner, value any) any {
	switch v := value.(type) {
	case onDemand:
		return one.pruned(p, v())
	case lazy:
		return one.pruned(p, v())
	case []any:
		from, to := one.cut(len(v))
		return one.of.prune(p, v[from:to])
	case []string:
		from, to := one.cut(len(v))
		return v[from:to]
	}
	return one.of.prune(p, value)
}

func (one *selected) cut(n int) (from, to int) {
	to = n
	if one.to >= 0 {
		to = min(one.to, n)
	}
	return min(one.from, to), to
}
