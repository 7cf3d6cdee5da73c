//go:build !race

package audit_test

// underRace is how many allocations a line may have in this build.
const underRace = 0
