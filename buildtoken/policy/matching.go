package policy

import (
	"regexp"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// maxMatchSteps limits the bytes of a text times the instructions of a pattern. Matching takes up to
// 15 ns for each of these steps, nothing can interrupt it, and CEL counts its cost afterwards (and by
// the length of the pattern, which means little: a{1,500} is short). So the product is checked first.
const maxMatchSteps = 4_000_000

// boundedMatching lets matches() fail where the text is too long for the pattern.
func boundedMatching() []cel.ProgramOption {
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
			if !ok || call.Function() != overloads.Matches {
				return i, nil
			}
			return replaceCall(call, func(text, pattern string) ref.Val {
				m, err := newMatcher(pattern)
				if err != nil {
					return types.WrapErr(err)
				}
				return m.match(text)
			}), nil
		}),
	}
}

// replaceCall is the call with another function of the two texts.
func replaceCall(call interpreter.InterpretableCall, f func(text, pattern string) ref.Val) interpreter.InterpretableCall {
	return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
		if len(args) != 2 {
			return types.NoSuchOverloadErr()
		}
		for _, a := range args {
			if types.IsUnknownOrError(a) {
				return a
			}
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
