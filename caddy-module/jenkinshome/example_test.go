package jenkinshome_test

import (
	"fmt"

	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

func ExampleParse() {
	root, err := jenkinshome.Parse([]byte(`<?xml version='1.1' encoding='UTF-8'?>
<project>
  <description>Deploys &#x1b;[1mthe site</description>
  <builders>
    <hudson.tasks.Shell>
      <command>make deploy</command>
    </hudson.tasks.Shell>
  </builders>
  <publishers>
    <hudson.tasks.Mailer/>
  </publishers>
</project>`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%q\n", root.TakeText("description"))
	fmt.Println(root.Take("builders").Take("hudson.tasks.Shell").TakeText("command"))
	for _, e := range root.Left() {
		fmt.Println("not used:", e.Path())
	}
	// Output:
	// "Deploys \x1b[1mthe site"
	// make deploy
	// not used: publishers
}
