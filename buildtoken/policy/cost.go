package policy

import (
	"math"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// maxCost limits the cost of one rule, estimated and at run time. A rule with six clauses, a regular
// expression among them, is estimated at some thousands and really costs below a hundred; 100 000
// takes about 5 ms.
const maxCost = 100_000

// The sizes that the estimate assumes; see the package comment.
const (
	maxEntries = 64   // parameters, headers, elements of a list whose length nothing else bounds
	maxName    = 256  // characters of a parameter's or header's name
	maxText    = 1024 // characters of any other text
)

// sizes bounds what a rule works on, so that its cost has a bound.
type sizes struct{}

// EstimateSize implements [checker.CostEstimator].
func (sizes) EstimateSize(n checker.AstNode) *checker.SizeEstimate {
	path := n.Path()
	switch {
	case len(path) > 0 && path[len(path)-1] == "@keys" && (path[0] == "params" || path[0] == "request"):
		return upTo(maxName)
	case n.Type().Kind() == types.TypeKind: // as in type(x) == string
		return upTo(1)
	case len(path) > 0 && isVariable(path[0]), n.Expr().Kind() == ast.CallKind:
		return sizeOf(n.Type())
	case n.Type().Kind() == types.StringKind:
		// An element of a list that is no variable: what split() returned, perhaps.
		return upTo(maxText)
	}
	return nil
}

// EstimateCallCost implements [checker.CostEstimator]; CEL and its extensions know their functions.
func (sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

func isVariable(name string) bool {
	switch name {
	case "params", "request", "job", "token", "cause", "user":
		return true
	}
	return false
}

func sizeOf(t *types.Type) *checker.SizeEstimate {
	switch t.Kind() {
	case types.StringKind, types.BytesKind, types.DynKind:
		return upTo(maxText)
	case types.ListKind, types.MapKind:
		return upTo(maxEntries)
	case types.StructKind:
		return upTo(1)
	default:
		return nil
	}
}

func upTo(n uint64) *checker.SizeEstimate { return &checker.SizeEstimate{Max: n} }

// The overloads of extensions whose built-in cost estimates are useless here.
const (
	jsonEncode = "json_encode_dyn"
	split      = "string_split_string"
	splitLimit = "string_split_string_int"
)

// extensionEstimates comes after the extensions. The encoders extension declares json.encode to be
// infinitely dear, so that nothing could use it; it costs what writing its result costs. The strings
// extension takes it that split() returns an element for each character, and all of them long.
func extensionEstimates() cel.EnvOption {
	json := upTo(maxEntries * (maxName + maxText))
	return cel.CostEstimatorOptions(
		checker.OverloadCostEstimate(jsonEncode, always(json.MultiplyByCostFactor(0.1), json)),
		checker.OverloadCostEstimate(split, always(upTo(maxText).AsCost(), upTo(maxEntries))),
		checker.OverloadCostEstimate(splitLimit, always(upTo(maxText).AsCost(), upTo(maxEntries))),
	)
}

func always(cost checker.CostEstimate, size *checker.SizeEstimate) checker.FunctionEstimator {
	return func(checker.CostEstimator, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
		return &checker.CallEstimate{CostEstimate: cost, ResultSize: size}
	}
}

func jsonCost() cel.ProgramOption {
	return cel.CostTrackerOptions(interpreter.OverloadCostTracker(jsonEncode,
		func(_ []ref.Val, result ref.Val) *uint64 {
			cost := uint64(1)
			if s, ok := result.(types.String); ok {
				cost += uint64(len(s)) / 10
			}
			return &cost
		}))
}

// estimate returns the most that a rule can cost within the sizes above; bounded is false if there
// is no such bound.
func estimate(env *cel.Env, rule *cel.Ast, sizes checker.CostEstimator) (cost uint64, bounded bool, err error) {
	est, err := env.EstimateCost(rule, sizes)
	return est.Max, est.Max < math.MaxUint64/1000, err // factors may have been applied to "infinite"
}

var _ checker.CostEstimator = sizes{}
