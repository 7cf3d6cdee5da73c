package jenkins

import (
	"strconv"
	"strings"
)

// Limits of a tree parameter.
const (
	maxTree      = 16 << 10 // bytes
	maxTreeDepth = 32
)

// selection is what a tree parameter selects of an object or of each element
// of an array. Nil selects nothing but the class.
type selection []selected

// selected is one property, "*" being any.
type selected struct {
	name string
	of   selection
	// from and to cut an array, half open; to is -1 for its end.
	from, to int
}

// find is what selects a property. Its own name goes before "*".
func (s selection) find(name string) (selected, bool) {
	all := -1
	for i, one := range s {
		switch one.name {
		case name:
			return one, true
		case "*":
			all = i
		}
	}
	if all >= 0 {
		return s[all], true
	}
	return selected{}, false
}

// names says whether the selection names a property; "*" names none.
func (s selection) names(name string) bool {
	one, ok := s.find(name)
	return ok && one.name == name
}

// parseTree reads a tree parameter: properties with commas between, each with
// what is selected of it in [], and a range of an array in {}. Ranges are {N},
// {N,}, {,M} and {N,M}, from 0, M being the first that is left out.
func parseTree(text string) (selection, error) {
	if len(text) > maxTree {
		return nil, &badRequestError{"tree is too long"}
	}
	p := treeParser{rest: text}
	s, ok := p.list(0)
	if !ok || p.rest != "" {
		return nil, &badRequestError{"malformed tree at byte " + strconv.Itoa(len(text)-len(p.rest)+1)}
	}
	return s, nil
}

type treeParser struct{ rest string }

func (p *treeParser) list(depth int) (selection, bool) {
	if depth > maxTreeDepth {
		return nil, false
	}
	var s selection
	for {
		one, ok := p.node(depth)
		if !ok {
			return nil, false
		}
		s = append(s, one)
		if !p.take(",") {
			return s, true
		}
	}
}

func (p *treeParser) node(depth int) (selected, bool) {
	end := strings.IndexAny(p.rest, ",[]{}")
	if end < 0 {
		end = len(p.rest)
	}
	if end == 0 {
		return selected{}, false
	}
	one := selected{name: p.rest[:end], to: -1}
	p.rest = p.rest[end:]
	if p.take("[") {
		var ok bool
		if one.of, ok = p.list(depth + 1); !ok || !p.take("]") {
			return selected{}, false
		}
	}
	if p.take("{") {
		return one, p.bounds(&one)
	}
	return one, true
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

// prune keeps of a value what is selected. The class of an object is always kept.
func (s selection) prune(value any) any {
	switch v := value.(type) {
	case object:
		kept := object{}
		for _, m := range v {
			if m.key == "_class" {
				kept = append(kept, m)
				continue
			}
			if _, hidden := m.value.(onDemand); hidden && !s.names(m.key) {
				continue
			}
			if one, ok := s.find(m.key); ok {
				kept = append(kept, member{m.key, one.pruned(m.value)})
			}
		}
		return kept
	case link:
		for _, one := range s {
			if _, ok := v.brief.get(one.name); !ok && v.full != nil {
				return s.prune(v.full())
			}
		}
		return s.prune(v.brief)
	case []any:
		kept := make([]any, len(v))
		for i := range v {
			kept[i] = s.prune(v[i])
		}
		return kept
	}
	return value
}

func (one selected) pruned(value any) any {
	switch v := value.(type) {
	case onDemand:
		return one.pruned(v())
	case []any:
		from, to := one.cut(len(v))
		return one.of.prune(v[from:to])
	case []string:
		from, to := one.cut(len(v))
		return v[from:to]
	}
	return one.of.prune(value)
}

func (one selected) cut(n int) (from, to int) {
	to = n
	if one.to >= 0 {
		to = min(one.to, n)
	}
	return min(one.from, to), to
}
