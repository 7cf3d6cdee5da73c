// Command mutate measures how much the tests of a package notice. It makes small
// changes to the package's code, one at a time (mutants), and runs the tests of the
// package and then those of the packages that import it directly. A mutant that no
// test notices survives: either a test is missing, or the code is not needed, or the
// mutant is equivalent to the original.
//
// Usage, from the root of the repository (or `make mutate PACKAGE=./buildtoken/queue`):
//
//	go run -C tools ./mutate [-root DIR] [-n 100] [-seed N] [-timeout 2m] [-for 10m] [-own] PACKAGE…
//
// The sample is drawn at random; -seed draws the same one again. Nothing in the tree
// is changed: the compiler reads the changed file through an overlay. Mutants that do
// not compile are replaced by others and do not count. Equivalent mutants are listed
// with a reason in equivalent.txt beside this file and do not count either.
//
// The exit status is 0 whatever the score, and 1 if the run itself failed, for example
// because the tests fail without any mutant.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("mutate: ")
	root := flag.String("root", "..", "the repository's root")
	n := flag.Int("n", 100, "mutants per package; 0 is all of them")
	seed := flag.Uint64("seed", 0, "seed of the sample; 0 draws one")
	timeout := flag.Duration("timeout", 2*time.Minute, "limit for one run of the tests")
	limit := flag.Duration("for", 0, "start no mutant after this time; 0 is no limit")
	own := flag.Bool("own", false, "run only the tests of the package itself, for a quick lower bound")
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if *seed == 0 {
		*seed = rand.Uint64N(1 << 32)
	}
	run := &runner{n: *n, seed: *seed, timeout: *timeout, own: *own}
	if *limit > 0 {
		run.until = time.Now().Add(*limit)
	}
	if err := run.all(*root, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

// all tries a sample of each package's mutants.
func (r *runner) all(root string, packages []string) (err error) {
	if r.root, err = filepath.Abs(root); err != nil {
		return err
	}
	if r.scratch, err = os.MkdirTemp("", "mutate"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.scratch)) }()
	if r.equivalent, err = readEquivalent(filepath.Join(r.root, "tools/mutate/equivalent.txt")); err != nil {
		return err
	}
	fmt.Printf("seed %d\n", r.seed)
	var total score
	for _, p := range packages {
		s, err := r.sample(p)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		total.add(s)
		fmt.Printf("%s: %s\n", p, s)
	}
	if len(packages) > 1 {
		fmt.Printf("all: %s\n", total)
	}
	return nil
}
