package caddymodule

// References is how many configurations refer to the controller of a place.
func References(place string) int {
	n, _ := slots.References(place)
	return n
}
