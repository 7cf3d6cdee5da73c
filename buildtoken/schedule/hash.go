package schedule

import (
	"crypto/md5" //nolint:gosec // Jenkins' choice; nothing here is a secret
	"encoding/binary"
)

// random is Java's java.util.Random, which Jenkins seeds with a job's name. Its
// sequence is part of Java's specification.
type random struct{ state int64 }

const (
	multiplier = 0x5DEECE66D
	increment  = 0xB
	mask       = 1<<48 - 1
)

// newRandom returns the generator that Jenkins uses for a job: seeded with the MD5
// digest of its full name, the halves of which are combined by exclusive or.
func newRandom(fullName string) *random {
	sum := md5.Sum([]byte(fullName)) //nolint:gosec // Jenkins' choice; nothing here is a secret
	seed := binary.BigEndian.Uint64(sum[:8]) ^ binary.BigEndian.Uint64(sum[8:])
	return &random{(int64(seed) ^ multiplier) & mask} //nolint:gosec // the bits count, not the sign
}

// next returns 31 random bits.
func (r *random) next() int64 {
	r.state = (r.state*multiplier + increment) & mask
	return r.state >> (48 - 31)
}

// below returns a number from 0 to n-1. n must be positive.
func (r *random) below(n int) int {
	if n&(n-1) == 0 {
		return int(int64(n) * r.next() >> 31)
	}
	for {
		bits := r.next()
		value := bits % int64(n)
		// Values of the last, incomplete run of n would be more frequent than others.
		if bits-value+int64(n)-1 < 1<<31 {
			return int(value)
		}
	}
}
