"""The guard against tests that pass because their assertion never ran."""

pytest_plugins = ["pytester"]

CONFTEST = "from tests.conftest import must_run  # noqa: F401"


def test_an_assertion_that_never_ran_fails_the_test(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import pulumi
        from tests.support import plan_of

        def test_unknown(must_run):
            def program():
                import pulumi_aws as aws
                vpc = aws.ec2.Vpc("main", cidr_block="10.0.0.0/16", region="us-east-1")

                @must_run
                def is_an_arn(arn):
                    assert arn.startswith("arn:")

                vpc.arn.apply(is_an_arn)
            plan_of(program)

        def test_known(must_run):
            def program():
                import pulumi_aws as aws
                vpc = aws.ec2.Vpc("main", cidr_block="10.0.0.0/16", region="us-east-1")

                @must_run
                def is_an_arn(arn):
                    assert arn.startswith("arn:")

                vpc.arn.apply(is_an_arn)
            plan_of(program, simulate_up=True)

        def test_wrong(must_run):
            def program():
                @must_run
                def fails(value):
                    assert value == "other"

                pulumi.Output.from_input("value").apply(fails)
            plan_of(program)
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--import-mode=importlib")
    result.assert_outcomes(passed=2, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*never ran, so it asserted nothing: is_an_arn*"])
