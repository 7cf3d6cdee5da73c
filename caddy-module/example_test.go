package caddymodule_test

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	_ "github.com/buildtoken/buildtoken/caddy-module"
)

// The smallest useful Caddyfile, and its JSON.
func Example() {
	const text = `:8080

build_token {
	job RevolutionTest {
		token TacoTuesday
		run echo hello
	}
}
`
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(string(config))
	// Output:
	// {"apps":{"http":{"servers":{"srv0":{"listen":[":8080"],"routes":[{"handle":[{"handler":"build_token","jobs":[{"name":"RevolutionTest","run":{"args":["hello"],"command":"echo","runner":"exec"},"tokens":[{"secret":"TacoTuesday"}]}],"lines":{"RevolutionTest job":"Caddyfile:4","RevolutionTest run":"Caddyfile:6"}}]}]}}}}}
}
