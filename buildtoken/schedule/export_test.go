package schedule

// JavaRandom returns the numbers of java.util.Random with this seed, 31 bits of each.
func JavaRandom(seed int64) (next func() int64) {
	return (&random{(seed ^ multiplier) & mask}).next
}
