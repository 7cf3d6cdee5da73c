package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// maxMatchSteps limits the bytes of a text times the instructions of a pattern. Matching takes up to
// 15 ns for each of these steps, nothing can interrupt it, and CEL counts its cost afterwards (and by
// the length of the pattern, which means little: a{1,500} is short). So the product is checked first.
const maxMatchSteps = 4_000_000

// The limits of other calls that nothing can interrupt, whose work is the product of what they are
// given, and of the text that a value of a parameter is made from.
const (
	maxSetSteps = 4_000_000 // comparisons of elements, up to 50 ns each
	maxResult   = 4 << 20   // bytes, more than all parameters of a trigger may have
	maxWritten  = 32 << 20  // bytes that are written into one text, more than a delivery has
)

// boundedCalls lets calls fail where their arguments are too large: matches(), replace(), those of sets,
// and those that write lists and maps into a text.
func boundedCalls(env *cel.Env) ([]cel.ProgramOption, error) {
	writers := map[string]func([]ref.Val) ref.Val{}
	for _, name := range []string{"join", "format", "json.encode"} {
		write, err := bindingOf(env, name)
		if err != nil {
			return nil, err
		}
		writers[name] = boundedWriter(name, write)
	}
	literalPattern := func(call interpreter.InterpretableCall, pattern string) (interpreter.InterpretableCall, error) {
		m, err := newMatcher(pattern)
		if err != nil {
			return nil, err
		}
		return replaceCall(call, func(text, _ string) ref.Val { return m.match(text) }), nil
	}
	return []cel.ProgramOption{
		// These two win over the one that CEL's optimizer brings for the function's name.
		cel.OptimizeRegex(
			&interpreter.RegexOptimization{OverloadID: overloads.Matches, RegexIndex: 1, Factory: literalPattern},
			&interpreter.RegexOptimization{OverloadID: overloads.MatchesString, RegexIndex: 1, Factory: literalPattern},
		),
		cel.CustomDecoratorV2(func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
			call, ok := i.(interpreter.InterpretableCall)
			if !ok {
				return i, nil
			}
			if write, ok := writers[call.Function()]; ok {
				return boundedCall(call, write), nil
			}
			switch call.Function() {
			case overloads.Matches:
				return replaceCall(call, func(text, pattern string) ref.Val {
					m, err := newMatcher(pattern)
					if err != nil {
						return types.WrapErr(err)
					}
					return m.match(text)
				}), nil
			case "replace":
				return boundedCall(call, boundedReplace), nil
			case "sets.contains":
				return boundedCall(call, boundedSets(contains)), nil
			case "sets.equivalent":
				return boundedCall(call, boundedSets(func(a, b traits.Lister) bool { return contains(a, b) && contains(b, a) })), nil
			case "sets.intersects":
				return boundedCall(call, boundedSets(intersect)), nil
			}
			return i, nil
		}),
	}, nil
}

// bindingOf returns the implementation of a function: of one argument, or of any number.
func bindingOf(env *cel.Env, name string) (functions.FunctionOp, error) {
	all, err := env.Functions()[name].Bindings()
	for _, o := range all {
		switch {
		case o.Operator != name:
		case o.Unary != nil:
			return func(args ...ref.Val) ref.Val { return o.Unary(args[0]) }, nil
		case o.Function != nil:
			return o.Function, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("policy: there is no function %s", name), err)
}

// boundedWriter is a function that writes its arguments into a text: join() the elements of a list with
// a text between them, format() and json.encode() everything.
func boundedWriter(name string, write functions.FunctionOp) func([]ref.Val) ref.Val {
	return func(args []ref.Val) ref.Val {
		left := maxWritten
		for _, a := range args {
			weigh(a, &left)
		}
		if list, ok := args[0].(traits.Lister); ok && len(args) == 2 {
			between, _ := args[1].(types.String)
			n, _ := list.Size().(types.Int)
			left -= int(n) * len(between)
		}
		if left < 0 {
			return types.NewErr("%s: the text would have more than %d bytes", name, maxWritten)
		}
		return write(args...)
	}
}

// weigh takes from left about as many bytes as a value has when it is written, until nothing is left.
func weigh(v ref.Val, left *int) {
	*left -= 4
	switch v := v.(type) {
	case types.String:
		*left -= len(v)
	case types.Bytes:
		*left -= len(v)
	case *types.Optional:
		if v.HasValue() {
			weigh(v.GetValue(), left)
		}
	case traits.Mapper:
		for it := v.Iterator(); *left >= 0 && it.HasNext() == types.True; {
			key := it.Next()
			weigh(key, left)
			weigh(v.Get(key), left)
		}
	case traits.Lister:
		for it := v.Iterator(); *left >= 0 && it.HasNext() == types.True; {
			weigh(it.Next(), left)
		}
	}
}

// boundedCall is the call with another function, which is not called with an error.
func boundedCall(call interpreter.InterpretableCall, f func(args []ref.Val) ref.Val) interpreter.InterpretableCall {
	return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
		for _, a := range args {
			if types.IsUnknownOrError(a) {
				return a
			}
		}
		return f(args)
	})
}

// boundedReplace is text.replace(old, new) or text.replace(old, new, limit).
func boundedReplace(args []ref.Val) ref.Val {
	if len(args) != 3 && len(args) != 4 {
		return types.NoSuchOverloadErr()
	}
	var texts [3]string
	for i := range texts {
		text, ok := args[i].(types.String)
		if !ok {
			return types.NoSuchOverloadErr()
		}
		texts[i] = string(text)
	}
	n := strings.Count(texts[0], texts[1])
	if len(args) == 4 {
		limit, ok := args[3].(types.Int)
		if !ok {
			return types.NoSuchOverloadErr()
		}
		if limit >= 0 {
			n = int(min(int64(n), int64(limit)))
		}
	}
	if size := len(texts[0]) + n*(len(texts[2])-len(texts[1])); size > maxResult {
		return types.NewErr("replace: the result would have %d bytes, the limit is %d", size, maxResult)
	}
	return types.String(strings.Replace(texts[0], texts[1], texts[2], n))
}

// boundedSets is a function of two lists that compares each element of one with those of the other.
func boundedSets(f func(a, b traits.Lister) bool) func(args []ref.Val) ref.Val {
	return func(args []ref.Val) ref.Val {
		if len(args) != 2 {
			return types.NoSuchOverloadErr()
		}
		a, isList := args[0].(traits.Lister)
		b, areLists := args[1].(traits.Lister)
		if !isList || !areLists {
			return types.NoSuchOverloadErr()
		}
		m, _ := a.Size().(types.Int)
		n, _ := b.Size().(types.Int)
		if m*n > maxSetSteps { // both lists are in memory, so the product is no overflow
			return types.NewErr("sets: lists of %d and %d elements are too long to compare, the limit of their product is %d", m, n, maxSetSteps)
		}
		return types.Bool(f(a, b))
	}
}

// contains reports whether a has all elements of b.
func contains(a, b traits.Lister) bool {
	for it := b.Iterator(); it.HasNext() == types.True; {
		if a.Contains(it.Next()) != types.True {
			return false
		}
	}
	return true
}

// intersect reports whether a and b have an element in common.
func intersect(a, b traits.Lister) bool {
	for it := a.Iterator(); it.HasNext() == types.True; {
		if b.Contains(it.Next()) == types.True {
			return true
		}
	}
	return false
}

// replaceCall is the call with another function of the two texts.
func replaceCall(call interpreter.InterpretableCall, f func(text, pattern string) ref.Val) interpreter.InterpretableCall {
	return boundedCall(call, func(args []ref.Val) ref.Val {
		if len(args) != 2 {
			return types.NoSuchOverloadErr()
		}
		text, isText := args[0].(types.String)
		pattern, isPattern := args[1].(types.String)
		if !isText || !isPattern {
			return types.NoSuchOverloadErr()
		}
		return f(string(text), string(pattern))
	})
}

type matcher struct {
	re   *regexp.Regexp
	size int
}

func newMatcher(pattern string) (matcher, error) {
	size, err := programSize(pattern)
	if err != nil {
		return matcher{}, err
	}
	re, err := regexp.Compile(pattern)
	return matcher{re, size}, err
}

func (m matcher) match(text string) ref.Val {
	if limit := maxMatchSteps / m.size; len(text) > limit {
		return types.NewErr("matches: a text of %d bytes is too long for this pattern, the limit is %d", len(text), limit)
	}
	return types.Bool(m.re.MatchString(text))
}
