// Command caddy is Caddy with its standard modules and build_token.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/buildtoken/buildtoken/caddy-module"
)

func main() {
	caddycmd.Main()
}
