package policy

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// maxMade limits the bytes of the texts and lists that the calls of one evaluation make. A delivery
// has 25 MB at most, and a list of all its paths takes 20 MB each time it is mapped or filtered.
const maxMade = 128 << 20

// perElement is the memory that an element of a list takes, about.
const perElement = 64

// madeName is the variable that holds how many bytes an evaluation may still make, a *made. An
// expression cannot name it.
const madeName = "@made"

// made counts the bytes that an evaluation makes.
type made struct{ bytes int }

// take counts n bytes, and reports whether they are within the limit.
func (m *made) take(n int) bool {
	m.bytes = min(m.bytes+n, maxMade+1)
	return m.bytes <= maxMade
}

// boundedMemory makes an evaluation fail that makes more than [maxMade] bytes. CEL's own limit does not
// do that: it counts the cost of a call afterwards, and expressions of `on` are evaluated without it.
func boundedMemory() cel.ProgramOption {
	return cel.CustomDecoratorV2(func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		call, ok := i.(interpreter.InterpretableCall)
		if !ok || !makes(call.Function()) {
			return i, nil
		}
		return &counted{call}, nil
	})
}

// makes reports whether a function can return a new text or list. Of CEL's operators, only + does.
func makes(function string) bool {
	return function == operators.Add || !strings.ContainsAny(function, "_@!")
}

// counted is a call whose result counts.
type counted struct{ interpreter.InterpretableCall }

// Exec implements [interpreter.InterpretableV2].
func (c *counted) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	return c.count(frame, func() ref.Val { return c.InterpretableCall.Exec(frame) })
}

// Eval implements [interpreter.Interpretable]. CEL uses it for the branches of a ?:, and for constants
// before there is an evaluation.
func (c *counted) Eval(vars cel.Activation) ref.Val {
	return c.count(vars, func() ref.Val { return c.InterpretableCall.Eval(vars) })
}

func (c *counted) count(vars cel.Activation, call func() ref.Val) ref.Val {
	v, _ := vars.ResolveName(madeName)
	m, ok := v.(*made)
	if !ok {
		return call()
	}
	if !m.take(0) {
		return errMade()
	}
	out := call()
	if !m.take(c.size(out)) {
		return errMade()
	}
	return out
}

func errMade() ref.Val {
	return types.NewErr("the texts and lists that the expression makes have more than %d bytes", maxMade)
}

// size is about how many bytes a result takes beside the arguments.
func (c *counted) size(out ref.Val) int {
	switch v := out.(type) {
	case types.String:
		return len(v)
	case types.Bytes:
		return len(v)
	case traits.Lister:
		if c.Function() == operators.Add {
			return perElement // it refers to its two lists, or is the first of them
		}
		n, _ := v.Size().(types.Int)
		return perElement * int(n)
	}
	return 0
}
