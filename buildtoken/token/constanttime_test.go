package token_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCheckTakesTheSameTime inspects the source: measuring a comparison on a busy machine
// proves nothing, but its code does. Where there is no job, or no token was shown, an empty set
// makes the same work.
func TestCheckTakesTheSameTime(t *testing.T) {
	checks, empty := 0, 0
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "tools" || len(d.Name()) > 2 && d.Name()[0] == '.'):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		ours := filepath.Base(filepath.Dir(path)) == "token"
		complaints, n, err := timing(string(source), ours)
		for _, complaint := range complaints {
			t.Errorf("%s:%s", path, complaint)
		}
		checks += n
		empty += strings.Count(string(source), "token.Set{}.Check(")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if checks != 1 || empty != 3 {
		t.Errorf("found %d functions Check that compare in constant time, and %d checks of an empty set; want 1 and 3", checks, empty)
	}
}

// TestUnevenTimeIsFound shows that each rule can be broken.
func TestUnevenTimeIsFound(t *testing.T) {
	const check = "package p\nfunc (s Set) Check(p Secret) bool {\n%s\n}"
	const good = "digest := p.Digest()\nsame := 0\nfor _, t := range s.tokens { same |= subtle.ConstantTimeCompare(digest[:], t.Digest[:]) }\nreturn same == 1"
	for _, tt := range []struct {
		name, in string
		ours     bool
		want     []string
	}{
		{"as it should be", fmt.Sprintf(check, good), true, nil},
		{"public values can be compared", "package p\nvar x = d == digestOfNothing() || t.Digest == (Digest{}) || s.digest == nil", true, nil},
		{"an operator", "package p\nvar x = digest == t.Digest", true, []string{"2: digest == t.Digest takes a time that tells where they differ"}},
		{"a function", "package p\nvar x = bytes.Equal(digest[:], t.Digest[:])", true, []string{"2: bytes.Equal(digest[:], t.Digest[:]) takes a time that tells where they differ"}},
		{"a set that is searched", "package p\nvar x = byDigest[p.Digest()]", true, []string{"2: byDigest[p.Digest()] takes a time that tells where they differ"}},
		{
			"an end at the first that fits",
			fmt.Sprintf(check, strings.Replace(good, " }", "; if same == 1 { return true } }", 1)), true,
			[]string{"5: Check leaves the loop over the tokens early"},
		},
		{
			"some that are left out",
			fmt.Sprintf(check, strings.Replace(good, "{ same", "{ if t.Expired() { continue }; same", 1)), true,
			[]string{"5: Check leaves the loop over the tokens early"},
		},
		{"the digest of a secret that is written into a configuration", "package p\nvar x = secret.Digest().String()", false, nil},
		{"one that is compared as text", "package p\nvar x = secret.Digest().String() == text", false, []string{"2: secret.Digest() outside of package token: compare with Set.Check"}},
		{"the digest of a secret outside of package token", "package p\nvar x = secret.Digest()", false, []string{"2: secret.Digest() outside of package token: compare with Set.Check"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := timing(tt.in, tt.ours)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("complaints (-want +got):\n%s", diff)
			}
		})
	}
}

// timing reports code whose duration could reveal something about a digest, and counts the
// functions Check that compare in constant time.
func timing(source string, ours bool) (complaints []string, checks int, err error) {
	files := gotoken.NewFileSet()
	file, err := parser.ParseFile(files, "", source, parser.SkipObjectResolution)
	if err != nil {
		return nil, 0, err
	}
	complain := func(at ast.Node, format string, args ...any) {
		complaints = append(complaints, fmt.Sprintf("%d: %s", files.Position(at.Pos()).Line, fmt.Sprintf(format, args...)))
	}
	uneven := func(n ast.Expr, operands ...ast.Expr) {
		isDigest := func(e ast.Expr) bool { return strings.Contains(strings.ToLower(types.ExprString(e)), "digest") }
		isKnown := func(e ast.Expr) bool {
			return slices.Contains([]string{"nil", "(Digest{})", "(Digest literal)", "digestOfNothing()"}, types.ExprString(e)) || strings.HasPrefix(types.ExprString(e), "(Digest{")
		}
		if slices.ContainsFunc(operands, isDigest) && !slices.ContainsFunc(operands, isKnown) {
			complain(n, "%s takes a time that tells where they differ", types.ExprString(n))
		}
	}
	// written are the digests of secrets that become text and are not compared.
	written := map[ast.Node]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, value := range n.Rhs {
				written[digestAsText(value)] = true
			}
		case *ast.ValueSpec:
			for _, value := range n.Values {
				written[digestAsText(value)] = true
			}
		case *ast.BinaryExpr:
			if ours && (n.Op == gotoken.EQL || n.Op == gotoken.NEQ) {
				uneven(n, n.X, n.Y)
			}
		case *ast.IndexExpr:
			if ours {
				uneven(n, n.Index)
			}
		case *ast.CallExpr:
			f, ok := n.Fun.(*ast.SelectorExpr)
			switch {
			case !ok:
			case !ours && f.Sel.Name == "Digest" && len(n.Args) == 0 && !written[n]:
				complain(n, "%s outside of package token: compare with Set.Check", types.ExprString(n))
			case ours && slices.Contains([]string{"Equal", "EqualFold", "Compare", "DeepEqual", "HasPrefix", "Contains", "Index"}, f.Sel.Name):
				uneven(n, n.Args...)
			}
		case *ast.FuncDecl:
			if ours && n.Name.Name == "Check" && n.Recv != nil {
				checks += evenly(n, complain)
			}
		}
		return true
	})
	return complaints, checks, nil
}

// evenly reports whether a function compares in constant time, as 1 or 0. It complains if the
// function skips some of the tokens.
func evenly(f *ast.FuncDecl, complain func(ast.Node, string, ...any)) int {
	even := 0
	ast.Inspect(f, func(n ast.Node) bool {
		var body *ast.BlockStmt
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if types.ExprString(n) == "subtle.ConstantTimeCompare" {
				even = 1
			}
		case *ast.ForStmt:
			body = n.Body
		case *ast.RangeStmt:
			body = n.Body
		}
		if body != nil {
			ast.Inspect(body, func(n ast.Node) bool {
				switch n.(type) {
				case *ast.ReturnStmt, *ast.BranchStmt:
					complain(n, "%s leaves the loop over the tokens early", f.Name.Name)
				}
				return true
			})
		}
		return true
	})
	return even
}

// digestAsText returns the call of Digest in an expression of the form x.Digest().String(), or nil.
func digestAsText(e ast.Expr) ast.Node {
	text, ok := e.(*ast.CallExpr)
	if !ok {
		return nil
	}
	f, ok := text.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != "String" {
		return nil
	}
	digest, ok := f.X.(*ast.CallExpr)
	if !ok {
		return nil
	}
	return digest
}
