"""Does what users of python-jenkins do, against the real program."""

import pathlib
import unittest
from urllib.parse import urlsplit

import jenkins
import requests

from server import PATIENCE, Server, eventually

server = None


def setUpModule():
    global server
    server = Server()


def tearDownModule():
    server.stop()


def client(user, root="", password=None):
    """Returns the client as its documentation creates it. It requests a crumb before each POST."""
    return jenkins.Jenkins(
        f"http://{server.address}{root}", username=user, password=password or f"{user}-password", timeout=PATIENCE)


class TestServer(unittest.TestCase):
    """The first examples of the client's manual."""

    def test_user_and_version(self):
        bob = client("bob")
        self.assertEqual(bob.get_whoami()["fullName"], "bob")
        self.assertRegex(bob.get_version(), r"^\d+\.\d+")
        self.assertTrue(bob.wait_for_normal_op(PATIENCE))

    def test_wrong_password(self):
        with self.assertRaises(jenkins.JenkinsException):
            client("alice", password="guess").get_info()

    def test_nodes(self):
        bob = client("bob")
        nodes = bob.get_nodes()
        self.assertEqual([n["offline"] for n in nodes], [False])
        info = bob.get_node_info(nodes[0]["name"])
        self.assertEqual(info["numExecutors"], 8)
        self.assertEqual(len(info["executors"]), 8)
        with self.assertRaises(jenkins.JenkinsException):
            bob.get_node_info("nothing")


class Flow:
    """The whole flow of a trigger. Subclasses define where the jobs are."""

    root = ""
    folder = ""

    def setUp(self):
        self.alice = client("alice", self.root)
        self.bob = client("bob", self.root)

    def started(self, item):
        """Waits until a queue item has a build, and returns the build's number."""
        return eventually(
            f"item {item} has a build",
            lambda: self.alice.get_queue_item(item).get("executable", {}).get("number"))

    def ended(self, name, number):
        def ask():
            build = self.alice.get_build_info(name, number)
            return not build["building"] and build
        return eventually(f"{name} {number} has ended", ask)

    def cancel(self, item):
        try:
            self.alice.cancel_queue(item)
        except jenkins.EmptyResponseException:
            pass  # version 1.4.0 reports every 204 as an error, also with Jenkins
        self.assertTrue(self.alice.get_queue_item(item)["cancelled"])

    def url(self, name):
        return f"http://{server.address}{self.root}/job/" + (self.folder + name).replace("/", "/job/") + "/"

    def test_jobs(self):
        info = self.bob.get_job_info(self.folder + "hello")
        self.assertEqual(info["fullName"], self.folder + "hello")
        self.assertEqual(info["description"], "says hello")
        self.assertEqual(info["url"], self.url("hello"))
        self.assertTrue(self.bob.job_exists(self.folder + "hello"))
        self.assertFalse(self.bob.job_exists(self.folder + "nothing"))
        names = {job["fullname"] for job in self.bob.get_all_jobs()}
        self.assertIn(self.folder + "greet", names)
        self.assertIn("hello", {job["name"] for job in self.bob.get_jobs()})

    def test_build_without_parameters(self):
        name = self.folder + "hello"
        number = self.started(self.alice.build_job(name))
        build = self.ended(name, number)
        self.assertEqual(build["result"], "SUCCESS")
        self.assertEqual(build["url"], f"{self.url('hello')}{number}/")
        self.assertEqual(
            self.alice.get_build_console_output(name, number).replace("\r\n", "\n"),
            "Started by user alice\nhello\nFinished: SUCCESS\n")
        self.assertEqual(self.alice.get_job_info(name)["lastBuild"]["number"], number)
        with self.assertRaises(jenkins.JenkinsException):
            self.alice.get_build_info(name, number + 1)

    def test_build_with_parameters(self):
        name = self.folder + "greet"
        values = {"NAME": "Ann & Bob = 2", "LOUD": "false", "TONE": "cold", "PASSPHRASE": "abc"}
        item = self.alice.build_job(name, values)
        number = self.started(item)
        build = self.ended(name, number)
        self.assertEqual(build["result"], "SUCCESS")
        self.assertEqual(build["queueId"], item)
        self.assertIn("hello, Ann & Bob = 2: false cold 3", self.alice.get_build_console_output(name, number))
        shown = next(a["parameters"] for a in build["actions"] if "parameters" in a)
        self.assertEqual(
            [(p["name"], p.get("value")) for p in shown],
            [("NAME", "Ann & Bob = 2"), ("LOUD", False), ("TONE", "cold"), ("PASSPHRASE", None)])
        with self.assertRaisesRegex(requests.HTTPError, "^400 "):
            self.alice.build_job(name, {"TONE": "sour"})

    def test_failure(self):
        name = self.folder + "fail"
        number = self.started(self.alice.build_job(name))
        self.assertEqual(self.ended(name, number)["result"], "FAILURE")
        self.assertEqual(self.alice.get_job_info(name)["lastFailedBuild"]["number"], number)

    def test_running_build_is_listed_and_stopped(self):
        name = self.folder + "sleep"
        number = self.started(self.alice.build_job(name))
        self.addCleanup(self.alice.stop_build, name, number)
        url = f"{self.url('sleep')}{number}/"
        running = [b for b in self.bob.get_running_builds() if urlsplit(b["url"]).path == urlsplit(url).path]
        self.assertEqual([b["number"] for b in running], [number])
        with self.assertRaises(jenkins.JenkinsException):
            self.bob.stop_build(name, number)
        self.alice.stop_build(name, number)
        self.assertEqual(self.ended(name, number)["result"], "ABORTED")
        self.assertNotIn(url, [b["url"] for b in self.bob.get_running_builds()])

    def test_log_of_a_running_build(self):
        name = self.folder + "gate"
        gate = pathlib.Path(server.dir) / ("gate" + self.folder.replace("/", "-") + self.root.replace("/", "-"))
        number = self.started(self.alice.build_job(name, {"GATE": str(gate)}))
        self.addCleanup(gate.touch)

        def log():
            try:
                return self.alice.get_build_console_output(name, number)
            except jenkins.JenkinsException:  # the client's answer to a log that is still empty
                return ""
        eventually("the first line is there", lambda: "before" in log())
        self.assertNotIn("after", log())
        gate.touch()
        self.assertEqual(self.ended(name, number)["result"], "SUCCESS")
        self.assertIn("after", log())

    def test_queued_item_is_cancelled(self):
        name = self.folder + "later"
        item = self.alice.build_job(name)
        self.assertEqual(self.alice.build_job(name), item, "an equal item is joined")
        queued = {i["id"]: i for i in self.alice.get_queue_info()}
        self.assertEqual(queued[item]["task"]["url"], self.url("later"))
        self.assertRegex(queued[item]["why"], r"^In the quiet period\.")
        self.cancel(item)
        self.alice.cancel_queue(item + 100000)  # a missing item is not an error to this client

    def test_token_instead_of_the_right_to_build(self):
        name, values = self.folder + "gate", {"GATE": "/nowhere", "delay": "3600sec"}
        with self.assertRaises(jenkins.JenkinsException):
            self.bob.build_job(name, dict(values))
        with self.assertRaises(jenkins.JenkinsException):
            self.bob.build_job(name, dict(values), token="wrong")
        item = self.bob.build_job(name, dict(values), token="gate-token")
        self.assertRegex(self.bob.get_queue_item(item)["why"], r"^In the quiet period\.")
        self.cancel(item)


class TestAtTheTop(Flow, unittest.TestCase):
    pass


class TestInFolders(Flow, unittest.TestCase):
    folder = "app/web/"


class TestBelowAPath(Flow, unittest.TestCase):
    root = "/ci"
    folder = "app/web/"


if __name__ == "__main__":
    unittest.main()
