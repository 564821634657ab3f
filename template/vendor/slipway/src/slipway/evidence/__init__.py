"""What an auditor asks for: does every pointer resolve, and where did an answer come from?"""
