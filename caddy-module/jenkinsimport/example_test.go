package jenkinsimport_test

import (
	"fmt"
	"testing/fstest"

	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinsimport"
)

func ExampleNew() {
	home, err := jenkinshome.Read(fstest.MapFS{"jobs/deploy/config.xml": &fstest.MapFile{Data: []byte(`<project>
  <builders>
    <hudson.tasks.Shell>
      <command>make deploy</command>
    </hudson.tasks.Shell>
  </builders>
  <publishers>
    <hudson.tasks.Mailer/>
  </publishers>
</project>`)}}, "home", "home")
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := jenkinsimport.New([]jenkinshome.Home{home}, jenkinsimport.Options{Dir: "/srv/jenkins"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(plan.Caddyfile())
	for _, e := range plan.Report.Jobs {
		fmt.Println(e.Job+":", e.Status, e.Notes)
	}
	// Output:
	// # Written by caddy build-token import-jenkins. Read import-report.md first. Change the address
	// # below to that of this server.
	//
	// :8080 {
	// 	build_token {
	// 		job deploy {
	// 			run sh -xe /srv/jenkins/jobs/deploy.sh
	// 		}
	// 	}
	// }
	// deploy: imported with notes [{publishers/hudson.tasks.Mailer no mail is sent; use notify with the format mail}]
}
